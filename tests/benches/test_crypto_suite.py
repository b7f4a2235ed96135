import json
import re
from pathlib import Path

import pytest

from benches.__main__ import main
from benches.suites import crypto


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(crypto, "SIZES", (64, 100, 200, 300))


def test_a_run_writes_a_page_and_its_numbers(small: None, tmp_path: Path) -> None:
    assert main(["crypto", "--rounds", "7", "--seconds", "0.001", "--out", str(tmp_path)]) == 0
    data = json.loads((tmp_path / "crypto.json").read_text("utf-8"))
    assert data["facts"]["commit"]
    assert [len(table["rows"]) for table in data["tables"]] == [4, 4, 2]
    assert {len(samples) for case in data["samples"].values() for samples in case.values()} == {7}
    page = (tmp_path / "crypto.md").read_text("utf-8")
    assert "Seal 64 B one at a time, rate against Python over `cryptography`: at least 3, found" in page


def test_a_quick_run_writes_nothing(small: None, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["crypto", "--quick", "--out", str(tmp_path)]) == 0
    assert list(tmp_path.iterdir()) == []
    assert "## Seal: header, nonce, sequence, cipher" in capsys.readouterr().out


def test_an_unknown_suite_is_named_with_those_there_are(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(["crypt"])
    assert stopped.value.code == 2
    assert re.search(r"no suite is called crypt; there are: .*\bcrypto\b", capsys.readouterr().err)
