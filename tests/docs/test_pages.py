"""What the documentation says about names and numbers is what the code says, and its links lead somewhere."""

import re
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
from pages import PAGES, ROOT, table

from sideband import secure_relay
from sideband.errors import SbrpErrorCode

SBRP = ROOT / "docs/protocol/sbrp.md"
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
    assert missing == []
