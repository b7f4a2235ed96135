"""Commands before servers that misbehave: what is told, and the exit code."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from tests.cli.commands.conftest import SECONDS
from tests.support.faulty_front import FaultyFront, cut, cut_in_the_middle, never_answer, refuses, says
from tests.support.pseudo_terminal import Terminal
from tests.support.served_platform import SIDEBAND, Program, ServedPlatform

SESSION = "relay.createSession"
CODE = "abcd-efgh-jkmn"


@pytest.fixture
async def front(platform: ServedPlatform) -> AsyncIterator[FaultyFront]:
    async with FaultyFront(platform.url) as front:
        yield front


Command = Callable[..., Awaitable[tuple[int, str, str]]]


@pytest.fixture
def command(front: FaultyFront, environment: dict[str, str], tmp_path: Path) -> Command:
    """Runs a command against the front, and returns its exit code and what it said."""

    async def command(*words: str, **more: str) -> tuple[int, str, str]:
        process = await asyncio.create_subprocess_exec(
            *SIDEBAND,
            *words,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env={**environment, "SIDEBAND_API_URL": front.url, "SIDEBAND_TOKEN": "sbnd_usr_x", **more},
            cwd=tmp_path,
        )
        async with asyncio.timeout(SECONDS):
            out, err = await process.communicate()
        assert process.returncode is not None
        assert b"Traceback" not in err
        return process.returncode, out.decode(), err.decode()

    return command


async def test_a_page_in_place_of_an_answer(front: FaultyFront, command: Command) -> None:
    front.always = says(200, "<html>Welcome to the hotel</html>")
    code, out, err = await command("call", CODE, "x", "--timeout", "1.5")
    assert (code, out) == (1, "")
    assert "captive portal" in err
    code, out, err = await command("login")
    assert (code, out) == (1, "")
    assert "captive portal" in err


async def test_a_redirect_is_not_followed_with_a_credential(front: FaultyFront, command: Command) -> None:
    front.always = says(302, "", location="https://elsewhere.example/")
    code, _, err = await command("login")
    assert code == 1
    assert "captive portal" in err or "elsewhere.example" in err


@pytest.mark.parametrize(
    ("fault", "exit_code"),
    [(refuses(401), 3), (refuses(403), 3), (refuses(404), 1), (says(500, "oops"), 1), (cut, 1), (cut_in_the_middle, 1)],
    ids=["401", "403", "404", "500", "cut", "cut in the middle"],
)
async def test_refusals_have_their_exit_codes(
    front: FaultyFront, command: Command, fault: Any, exit_code: int, tmp_path: Path
) -> None:
    front.always = fault
    code, out, err = await command("init", SIDEBAND_API_KEY="sbnd_dak_x")
    assert (code, out) == (exit_code, "")
    assert err.startswith("error: ")
    assert "sbnd" not in err
    assert not (tmp_path / "home" / "config.json").exists()


async def test_a_server_that_recovers_is_waited_for(
    platform: ServedPlatform, daemon: Program, front: FaultyFront, command: Command
) -> None:
    front.fail(SESSION, says(500, "oops"), refuses(429, "TOO_MANY_REQUESTS", "slow down", retry_after="1"), cut)
    token = {"SIDEBAND_TOKEN": platform.first.token}
    code, out, err = await command("call", platform.first.daemon_id, "greet", '"Ada"', **token)
    assert (code, out, err) == (0, '"Hello Ada"\n', "")
    assert front.count(SESSION) == 4


async def test_too_many_requests(front: FaultyFront, command: Command) -> None:
    front.always = refuses(429, "TOO_MANY_REQUESTS", "slow down", retry_after="30")
    code, _, err = await command("login")
    assert code == 1
    assert err == "error: 429 TOO_MANY_REQUESTS: slow down; try again in 30 s\n"


async def test_a_server_that_says_nothing_is_told_in_time(front: FaultyFront, command: Command) -> None:
    front.always = never_answer
    code, out, _ = await command("call", CODE, "x", "--timeout", "1", "--json")
    told = json.loads(out)
    assert (told["event"], told["exit_code"]) == ("error", code)
    assert "1 s" in told["message"]


async def test_ctrl_c_while_a_server_says_nothing(
    front: FaultyFront, environment: dict[str, str], tmp_path: Path
) -> None:
    given = {"SIDEBAND_HOME": environment["SIDEBAND_HOME"], "SIDEBAND_API_URL": front.url, "SIDEBAND_TOKEN": "x"}
    for words in (("login",), ("call", CODE, "x"), ("connect", CODE), ("ls", CODE), ("get", CODE, "x")):
        heard = asyncio.Event()

        async def hear(front: FaultyFront, request: web.Request, heard: asyncio.Event = heard) -> web.StreamResponse:
            heard.set()
            return await never_answer(front, request)

        front.always = hear
        terminal = Terminal((*SIDEBAND, *words), given, tmp_path)
        async with asyncio.timeout(SECONDS):
            await heard.wait()
        terminal.type("\x03")
        assert await asyncio.to_thread(terminal.finish) == 130
        assert "interrupted" in "\n".join(terminal.lines)
        assert "Traceback" not in "\n".join(terminal.lines)
        terminal.close()


@pytest.mark.parametrize(
    "words", [("login",), ("call", "d_x", "x", "--timeout", "1"), ("init",)], ids=lambda each: each[0]
)
async def test_nobody_there(command: Command, words: tuple[str, ...]) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        away = f"http://127.0.0.1:{taken.getsockname()[1]}"
        code, out, err = await command(*words, SIDEBAND_API_URL=away, SIDEBAND_API_KEY="sbnd_dak_x")
    assert (code, out) == (5, "")
    assert "is the server running" in err


async def test_a_terminal_is_told_that_it_is_tried_again(environment: dict[str, str], tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        away = f"http://127.0.0.1:{taken.getsockname()[1]}"
        given = {"SIDEBAND_HOME": environment["SIDEBAND_HOME"], "SIDEBAND_API_URL": away}
        terminal = Terminal((*SIDEBAND, "call", CODE, "x"), given, tmp_path)
        await asyncio.to_thread(
            terminal.until, lambda lines: any("trying again, for up to 30 s" in one for one in lines)
        )
        terminal.type("\x03")
        assert await asyncio.to_thread(terminal.finish) == 130
        terminal.close()


async def test_no_credential_goes_over_plain_http_to_another_machine(command: Command) -> None:
    code, _, err = await command("login", SIDEBAND_API_URL="http://sideband.example")
    assert code == 2
    assert "use https" in err
