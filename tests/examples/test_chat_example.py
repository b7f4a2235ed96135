"""The chat room, as three people use it: a server, a daemon and clients as processes."""

from __future__ import annotations

from contextlib import ExitStack

from tests.support.served_platform import Program, ServedPlatform


def test_three_people_talk_and_leave(platform: ServedPlatform) -> None:
    with (
        platform.running("room", "chat_daemon.py", **platform.daemon_environment("room")) as room,
        ExitStack() as stack,
    ):

        def enter(name: str, **environment: str) -> Program:
            person = stack.enter_context(platform.running(name, "chat_client.py", name, **environment))
            person.hear(f"* you are {name}")
            return person

        code = room.hear("code").partition(" ")[0]
        ada = enter("Ada", **platform.client_environment("ada"))
        ada.type("hello?")
        assert ada.hear("Ada:") == "hello?"
        bob = enter("Bob", **platform.client_environment("bob"))
        assert "Ada: hello?" in bob.said
        ada.hear("* Bob came")
        bob.type("hello Ada")
        assert ada.hear("Bob:") == "hello Ada"
        eve = enter("Eve", **platform.client_environment("eve", code=code))
        assert [line for line in eve.said if not line.startswith("*")] == ["Ada: hello?", "Bob: hello Ada"]
        eve.type("good bye")
        assert bob.hear("Eve:") == "good bye"
        eve.type("")
        eve.finish()
        ada.hear("* Eve left")
        ada.type("")
        ada.finish()
        bob.hear("* Ada left")
        bob.interrupt()
        room.hear("chat.left Bob")
        users = [line.rpartition(" is ")[2] for line in room.said if " is " in line]
        assert users[0] == users[1] != users[2] == "quick-connect"
        room.interrupt()


def test_a_name_is_given_once(platform: ServedPlatform) -> None:
    with platform.running("room", "chat_daemon.py", **platform.daemon_environment("room")) as room:
        room.hear("code")
        with platform.running("ada", "chat_client.py", "Ada", **platform.client_environment("ada")) as ada:
            ada.hear("* you are Ada")
            with platform.running("other", "chat_client.py", "Ada", **platform.client_environment("other")) as other:
                other.finish(1)
                assert "somebody is called Ada already" in other.errors()
                assert "Traceback" not in other.errors()


def test_a_client_comes_back_to_a_room_that_was_started_again(platform: ServedPlatform) -> None:
    environment = platform.daemon_environment("room")
    with platform.running("first room", "chat_daemon.py", **environment) as room:
        room.hear("code")
        with platform.running("ada", "chat_client.py", "Ada", **platform.client_environment("ada")) as ada:
            ada.hear("* you are Ada")
            room.kill()
            ada.hear("* the room has lost its connection")
            with platform.running("second room", "chat_daemon.py", **environment) as again:
                again.hear("chat.joined Ada")
                ada.type("still here")
                ada.hear("Ada: still here")
                again.interrupt()


def test_a_guest_is_told_when_the_room_closes(platform: ServedPlatform) -> None:
    with platform.running("room", "chat_daemon.py", **platform.daemon_environment("room")) as room:
        code = room.hear("code").partition(" ")[0]
        environment = platform.client_environment("guest", code=code)
        with platform.running("guest", "chat_client.py", "Eve", **environment) as guest:
            guest.hear("* you are Eve")
            room.interrupt()
            guest.finish(1)
            assert "Traceback" not in guest.errors()
            assert "the room" in guest.errors()


def test_what_is_missing_is_said(platform: ServedPlatform) -> None:
    with platform.running("nobody", "chat_client.py", "Ada", SIDEBAND_API_URL=platform.url) as client:
        client.finish(1)
        assert "set SIDEBAND_DAEMON" in client.errors()
    with platform.running("wrong", "chat_client.py", SIDEBAND_API_URL=platform.url) as client:
        client.finish(1)
        assert "usage: chat_client.py NAME" in client.errors()
    environment = {**platform.daemon_environment("room"), "SIDEBAND_API_KEY_FILE": ""}
    with platform.running("no key", "chat_daemon.py", **environment) as daemon:
        daemon.finish(1)
        assert "set SIDEBAND_API_KEY" in daemon.errors()
