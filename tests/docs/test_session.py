"""The README's recorded session: the picture, and how recordings become one."""

import json
import re
import sys
from pathlib import Path
from xml.etree import ElementTree

sys.path.insert(0, str(Path(__file__).parent))
from pages import ROOT, blocks

from scripts.record_session import PICTURE
from scripts.terminal_picture import LAST_SECONDS, Cast, render

SVG = "{http://www.w3.org/2000/svg}"
CAST = Cast(
    "a <shell>",
    20,
    3,
    [(0.0, "$ "), (0.5, "ls\r\n"), (9.0, "\x1b[31mred\x1b[0m  & <plain>\r\n"), (9.5, "\x1b[38;2;1;2;3m█▀\x1b[0m")],
)


def test_the_picture_shows_the_commands_of_the_readme() -> None:
    assert f"]({PICTURE.relative_to(ROOT)})" in (ROOT / "README.md").read_text("utf-8")
    told = _told(ElementTree.parse(PICTURE).getroot())
    commands = [
        line.removeprefix("$ ").partition("  ")[0]
        for block in blocks(ROOT / "README.md", "console")
        for line in block.text.splitlines()
        if re.match(r"\$ sideband (serve|init|daemon|get)\b", line)
    ]
    assert [command.split()[1] for command in commands] == ["serve", "init", "daemon", "get"]
    typed = [re.sub(r"CODE", r"[a-z-]{14}", command) for command in commands]
    assert [command for command in typed if not any(re.search(rf"\$ {command}", line) for line in told)] == []


def test_the_picture_shows_nothing_of_the_machine_it_was_made_on() -> None:
    homes = set(re.findall(r"/(?:home|root|tmp|work)\b[/\w]*", PICTURE.read_text("utf-8")))
    assert {home for home in homes if not home.startswith(("/home/ada", "/tmp/ada"))} == set()


def test_a_picture_without_motion_shows_the_last_screen() -> None:
    root = ElementTree.fromstring(render([CAST]))
    (film,) = (group for group in root.iter(f"{SVG}g") if group.get("class") == "film0")
    screens = list(film)
    offset = re.findall(r"-?[\d.]+", film.get("transform") or "")
    assert screens[-1].get("transform") == f"translate({offset[0]} {offset[1].removeprefix('-')})"
    shown = {use.get("href", "").removeprefix("#") for use in screens[-1]}
    text = [_told(group) for group in root.iter(f"{SVG}g") if group.get("id") in shown]
    assert text == [["$ ls"], ["red", "\N{NO-BREAK SPACE}& <plain>".strip()], []]


def test_the_film_shows_each_screen_in_its_time_and_cuts_rests() -> None:
    style = ElementTree.fromstring(render([CAST])).findtext(f"{SVG}style") or ""
    seconds = 0.5 + 1.0 + 0.5 + LAST_SECONDS
    assert f"{seconds:.2f}s step-end infinite" in style
    steps = [float(at) for at in re.findall(r"([\d.]+)% { transform", style)]
    assert steps == [0, *(round(100 * at / seconds, 3) for at in (0.5, 1.5, 2.0)), 100]
    assert "prefers-reduced-motion" in style


def test_a_recording_is_an_asciicast(tmp_path: Path) -> None:
    CAST.write(tmp_path / "a.cast")
    head, *events = map(json.loads, (tmp_path / "a.cast").read_text("utf-8").splitlines())
    assert head == {"version": 2, "width": 20, "height": 3, "title": "a <shell>"}
    assert events[1] == [0.5, "o", "ls\r\n"]


def _told(element: ElementTree.Element) -> list[str]:
    """Return the texts, a prompt with what was typed after it."""
    lines: list[str] = []
    for text in element.iter(f"{SVG}text"):
        told = (text.text or "").replace("\N{NO-BREAK SPACE}", " ")
        if lines and lines[-1] == "$":
            lines[-1] += f" {told}"
        else:
            lines.append(told)
    return lines
