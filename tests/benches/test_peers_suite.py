import json
from pathlib import Path

from benches.__main__ import main


def test_a_run_judges_every_aim(tmp_path: Path) -> None:
    assert main(["peers", "--rounds", "7", "--seconds", "0.001", "--out", str(tmp_path)]) == 0
    data = json.loads((tmp_path / "peers.json").read_text("utf-8"))
    assert [aim["measure"] for aim in data["aims"]] == [
        "Call of 256 B, p50 against the bare path's",
        "Calls a second, 64 in flight, against the bare path's messages",
        "Resume of 5 sessions, p99",
        "Memory of each of 20 idle sessions on the daemon",
    ]
    assert {len(samples) for samples in data["samples"]["latency p50, seconds"].values()} == {7}
    assert [len(seconds) for seconds in data["samples"]["resume, seconds"]] == [5] * 7
    assert all(0 < seconds < 60 for cut in data["samples"]["resume, seconds"] for seconds in cut)
