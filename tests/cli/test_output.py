from __future__ import annotations

import json

import pytest
import typer

from sideband.cli.output import exit_code, print_event, reporting_errors
from sideband.errors import (
    CloudApiError,
    ConfigError,
    IdentityRefusedError,
    IdentityStoreError,
    PeerError,
    ProcessError,
    SbrpError,
    SidebandError,
    TokenError,
    TransportError,
)


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (SidebandError("x"), 1),
        (PeerError("rpc_timeout"), 1),
        (IdentityStoreError("x"), 1),
        (SbrpError("handshake_failed"), 1),
        (SbrpError("daemon_not_found"), 1),
        (TransportError("abnormal_close"), 1),
        (CloudApiError(404), 1),
        (ConfigError("x"), 2),
        (CloudApiError(401), 3),
        (CloudApiError(403), 3),
        (TokenError("expired"), 3),
        (TransportError("authentication_failed"), 3),
        (SbrpError("unauthorized"), 3),
        (SbrpError("forbidden"), 3),
        (SbrpError("identity_key_changed"), 4),
        (IdentityRefusedError("x", expected="a", received="b"), 4),
        (IdentityRefusedError("x", expected=None, received="b"), 4),
        (SbrpError("daemon_offline"), 5),
        (TransportError("connection_refused"), 5),
        (TransportError("dns_failure"), 5),
        (TransportError("timeout"), 5),
        (ProcessError("x"), 1),
        (ProcessError("x", exit_code=5), 5),
    ],
)
def test_exit_codes(error: SidebandError, code: int) -> None:
    assert exit_code(error) == code


def test_an_event_is_one_line_with_its_version(capsys: pytest.CaptureFixture[str]) -> None:
    print_event("ready", text="line\nbreak é")
    (line,) = capsys.readouterr().out.splitlines()
    assert json.loads(line) == {"v": 1, "event": "ready", "text": "line\nbreak é"}


def test_an_error_is_told_to_people_on_standard_error(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(typer.Exit) as caught, reporting_errors(False):
        raise TransportError("connection_refused", "nobody listens; start it with sideband serve")
    assert caught.value.exit_code == 5
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err == "error: connection_refused: nobody listens; start it with sideband serve\n"


def test_and_to_programs_on_standard_output(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(typer.Exit) as caught, reporting_errors(True):
        raise ConfigError("no")
    assert caught.value.exit_code == 2
    captured = capsys.readouterr()
    assert json.loads(captured.out) == {
        "v": 1,
        "event": "error",
        "error": "ConfigError",
        "message": "no",
        "exit_code": 2,
    }
    assert captured.err == ""


def test_other_errors_are_bugs_and_pass_through() -> None:
    with pytest.raises(LookupError), reporting_errors(True):
        raise LookupError("bug")
