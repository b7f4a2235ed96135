"""What docs/protocol/inbox.md says of codes, limits and vectors is what the code does."""

import re
from pathlib import Path

from sideband.inbox.config import InboxConfig
from sideband.inbox.wire import CLOSE_CODES, STATUS

from .test_signing import SIGNATURES

PAGE = (Path(__file__).parents[2] / "docs/protocol/inbox.md").read_text("utf-8")


def rows(pattern: str) -> list[list[str]]:
    return [
        [cell.strip().strip("`") for cell in line.strip("|").split("|")]
        for line in PAGE.splitlines()
        if re.match(pattern, line)
    ]


def test_codes_statuses_and_close_codes() -> None:
    documented = {row[0]: (int(row[1]), row[2]) for row in rows(r"\| `SHADE_")}
    assert {code: status for code, (status, _) in documented.items()} == STATUS
    closing = {code: int(close.split(";")[0]) for code, (_, close) in documented.items() if close}
    assert closing == CLOSE_CODES


def test_rates() -> None:
    config = InboxConfig()
    documented = {row[0]: (int(row[1].replace(",", "")), row[2]) for row in rows(r"\| .* \| [\d,]+ \| .* \| .* \|$")}
    for name, rate in (
        ("put", config.put_rate),
        ("fetch, delete (and watchers)", config.fetch_rate),
        ("fetch, delete (and watchers)", config.delete_rate),
        ("WebSocket, stream, presence", config.connect_rate),
        ("poll", config.poll_rate),
        ("any request, before it is looked at", config.client_rate),
    ):
        assert documented[name] == (rate.burst, f"{rate.per_second:g}")
    assert documented["register"] == (config.register_rate.burst, "5 an hour")


def test_vectors() -> None:
    assert {row[0]: row[1] for row in rows(r"\| (poll|stream|ws) \|.*==`")} == SIGNATURES
