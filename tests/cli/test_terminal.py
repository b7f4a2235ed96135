"""What is printed for people is printed as it is, whatever it holds."""

from __future__ import annotations

import pytest

from sideband.cli.admin_output import print_made, print_rows
from sideband.cli.demo.report import TerminalReport

# Each would be something else to a terminal library that looks for emoji, markup or numbers.
TRICKY = "SHA256:AB:52:O2:VS [bold]x[/bold] [/none] :smile: 1.5"


@pytest.fixture(params=["", "1"], ids=["colour", "NO_COLOR"])
def _environment(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("NO_COLOR", request.param)


@pytest.mark.usefixtures("_environment")
def test_a_fingerprint_is_shown_to_the_letter(capsys: pytest.CaptureFixture[str]) -> None:
    with TerminalReport(0) as report:
        report.preparing(TRICKY)
        report.ready("http://127.0.0.1:1", TRICKY)
        report.connected(TRICKY, TRICKY, 1.0)
    assert capsys.readouterr().err.count(TRICKY) == 4


@pytest.mark.usefixtures("_environment")
def test_tables_show_names_to_the_letter(capsys: pytest.CaptureFixture[str]) -> None:
    print_made("made", {"name": TRICKY}, json_output=False)
    print_rows("row", [{"name": TRICKY, "id": 1}], ["name", "id"], json_output=False)
    assert capsys.readouterr().out.count(TRICKY) == 2
