import json
from pathlib import Path

import pytest

from benches.__main__ import main
from benches.suites import backends
from sideband.secure_relay import backend


def test_every_available_implementation_is_measured_in_its_own_process(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(backends, "SIZES", (64, 1000))
    assert main(["backends", "--rounds", "7", "--seconds", "0.001", "--out", str(tmp_path)]) == 0
    data = json.loads((tmp_path / "backends.json").read_text("utf-8"))
    assert set(data["samples"]) == {"seal 64", "open 64", "seal 1000", "open 1000"}
    for samples in data["samples"].values():
        assert set(samples) == {*backend().available, "auto"}
        assert all(len(seconds) == 7 and min(seconds) > 0 for seconds in samples.values())
