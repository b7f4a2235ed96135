"""What the documentation says about names and numbers is what the code says, and its links lead somewhere."""

import re
import sys
from pathlib import Path
from typing import get_args

import pytest

sys.path.insert(0, str(Path(__file__).parent))
from pages import PAGES, ROOT, table

from sideband import secure_relay
from sideband.errors import PeerErrorCode, SbrpError, SbrpErrorCode
from sideband.peer import ConnectionPolicy, EventPolicy, RetryPolicy, RpcPolicy
from sideband.peer.negotiator import classify_error

SBRP = ROOT / "docs/protocol/sbrp.md"
PEER = ROOT / "docs/protocol/peer.md"
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")


@pytest.fixture(params=PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def page(request: pytest.FixtureRequest) -> Path:
    return request.param


def test_every_link_leads_somewhere(page: Path) -> None:
    targets = [target for target in LINK.findall(page.read_text("utf-8")) if "://" not in target]
    broken = []
    for target in targets:
        name, _, anchor = target.partition("#")
        linked = (page.parent / name).resolve() if name else page
        if not linked.exists() or (anchor and anchor not in _anchors(linked)):
            broken.append(target)
    assert broken == []


def _anchors(page: Path) -> set[str]:
    headings = re.findall(r"^#+ (.*)$", page.read_text("utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_lines_are_short_enough_to_review(page: Path) -> None:
    prose = [
        line for line in page.read_text("utf-8").splitlines() if not line.startswith(("|", "[")) and "://" not in line
    ]
    assert [line for line in prose if len(line) > 120] == []


def test_the_table_of_codes_is_the_enum() -> None:
    documented = {row[1]: (int(row[0], 16), row[2] == "yes") for row in table(SBRP, "number", "name")}
    assert documented == {code.value: (code.wire, code.terminal) for code in SbrpErrorCode if code.wire is not None}


def test_the_codes_that_never_travel_are_named() -> None:
    text = SBRP.read_text("utf-8").partition("These never travel")[2].partition("## ")[0]
    assert set(re.findall(r"`(\w+)`", text)) == {code.value for code in SbrpErrorCode if code.wire is None}


def test_the_table_of_frames_is_the_enum() -> None:
    documented = {row[1].lower(): int(row[0], 16) for row in table(SBRP, "type", "name")}
    assert documented == {kind.name.replace("_", "").lower(): kind.value for kind in secure_relay.FrameType}


def test_every_section_that_the_code_refers_to_exists() -> None:
    missing = []
    for source in [*(ROOT / "python").rglob("*.py"), *(ROOT / "python").rglob("*.pyi")]:
        text = re.sub(r"\s+", " ", source.read_text("utf-8"))
        for name, section in re.findall(r"(docs/[\w/-]+\.md)(?:, \"([^\"]+)\")?", text):
            linked = ROOT / name
            headings = linked.read_text("utf-8") if linked.exists() else ""
            if not headings or (section and not re.search(rf"^#+ {re.escape(section)}$", headings, re.MULTILINE)):
                missing.append(f"{source.name}: {name} {section}".strip())
    assert not missing, "\n".join(missing)


def test_the_table_of_error_classes_is_what_the_negotiator_does() -> None:
    documented = {row[0]: row[1] for row in table(PEER, "SBRP code", "class")}
    assert documented == {code: classify_error(SbrpError(code)) for code in documented}


def test_the_table_of_peer_errors_is_complete() -> None:
    assert {row[0] for row in table(PEER, "code", "meaning")} == set(get_args(PeerErrorCode))


def test_the_defaults_of_the_policies_are_the_code_s() -> None:
    assert [row[1:] for row in table(PEER, "policy", "setting")] == [
        ["on_disconnect: fail or pause", ConnectionPolicy().on_disconnect],
        ["default_timeout", f"{RpcPolicy().default_timeout:.0f} s"],
        ["disconnect_buffer_limit; over it buffer_overflow", f"{RpcPolicy().disconnect_buffer_limit // 1024} KiB"],
        ["max_buffered_events; the oldest goes first", f"{EventPolicy().max_buffered_events}"],
        ["mode: never or on-error", RetryPolicy().mode],
        ["initial, max", f"{RetryPolicy().initial:.0f} s, {RetryPolicy().max:.0f} s"],
        ["max_attempts; the first try does not count, 0 sets no limit", f"{RetryPolicy().max_attempts}"],
        ["jitter", f"{RetryPolicy().jitter}"],
    ]
