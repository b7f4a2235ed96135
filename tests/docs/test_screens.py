"""The screens on the page of the command line are what the commands show, and its tables are what the code says."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
from pages import table

from scripts.command_screens import PAGE, blocks, comparable, play
from sideband.cli import output

SHOWN = blocks(PAGE.read_text("utf-8"))


@pytest.fixture(scope="module")
def screens(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    return play(tmp_path_factory.mktemp("home"))


def test_the_page_shows_every_screen(screens: dict[str, str]) -> None:
    assert set(SHOWN) == set(screens)


@pytest.mark.parametrize("name", SHOWN)
def test_the_screen_is_what_the_command_shows(name: str, screens: dict[str, str]) -> None:
    assert comparable(SHOWN[name]) == comparable(screens[name]), "run `python -m scripts.command_screens`"


def test_a_comparable_screen_still_says_what_matters() -> None:
    screen = "$ sideband get abcd-efgh-jkmn f\n━━━━ 100% 1.0/1.0 kB 1.5 MB/s 00:00\nkey SHA256:AB:CD:EF:01:...\n"
    assert comparable(screen) == "$ sideband get CODE f\nBAR 100% 1.0/1.0 kB RATE\nkey FINGERPRINT\n"


def test_the_table_of_exit_codes_is_complete() -> None:
    named = {value for name, value in vars(output).items() if name.startswith("EXIT_")}
    assert {int(row[0]) for row in table(PAGE, "code", "meaning")} == named
