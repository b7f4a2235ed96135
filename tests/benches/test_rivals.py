"""A rival that does less than ours would make ours look worse, one that does it wrongly better."""

import json
from pathlib import Path

import pytest

from sideband.bench.openssl_session import CLIENT_TO_DAEMON, DAEMON_TO_CLIENT, OpensslSession, SessionError
from sideband.bench.pure_session import PureSession
from sideband.bench.replay_window import PythonReplayWindow

KEYS = bytes(range(32)), bytes(range(32, 64))
VECTORS = Path(__file__).parents[1] / "vectors"


@pytest.fixture(params=[OpensslSession, PureSession])
def pair(request: pytest.FixtureRequest) -> tuple:
    to_daemon, to_client = KEYS
    client = request.param(to_daemon, to_client, CLIENT_TO_DAEMON, DAEMON_TO_CLIENT)
    return client, request.param(to_client, to_daemon, DAEMON_TO_CLIENT, CLIENT_TO_DAEMON)


@pytest.mark.parametrize("size", [0, 1, 15, 16, 17, 63, 64, 65, 1000])
def test_both_ways(pair: tuple, size: int) -> None:
    client, daemon = pair
    message = bytes(range(256)) * 4
    assert daemon.open_frame(client.seal_frame(7, message[:size])) == message[:size]
    assert client.open_frame(daemon.seal_frame(7, message[:size])) == message[:size]


def test_the_two_make_the_same_bytes() -> None:
    frames = {
        kind(*KEYS, CLIENT_TO_DAEMON, DAEMON_TO_CLIENT).seal_frame(7, b"x" * 100)
        for kind in (OpensslSession, PureSession)
    }
    assert len(frames) == 1


def test_a_replay_is_refused(pair: tuple) -> None:
    client, daemon = pair
    frame = client.seal_frame(7, b"once")
    daemon.open_frame(frame)
    with pytest.raises(SessionError, match="sequence_error"):
        daemon.open_frame(frame)


def test_a_forgery_is_refused_and_moves_nothing(pair: tuple) -> None:
    client, daemon = pair
    frame = client.seal_frame(7, b"genuine")
    with pytest.raises(SessionError, match="decrypt_failed"):
        daemon.open_frame(frame[:-1] + bytes([frame[-1] ^ 1]))
    assert daemon.open_frame(frame) == b"genuine"


def test_a_reflected_frame_is_refused(pair: tuple) -> None:
    client, _ = pair
    with pytest.raises(SessionError, match="decrypt_failed"):
        client.open_frame(client.seal_frame(7, b"mine"))


def test_too_much_is_refused(pair: tuple) -> None:
    with pytest.raises(SessionError, match="payload_too_large"):
        pair[0].seal_frame(7, bytes(65_509))


def replay_scenarios() -> list:
    scenarios = json.loads((VECTORS / "sbrp-replay.json").read_text("utf-8"))["scenarios"]
    return [pytest.param(one, id=one["name"]) for one in scenarios if one["windowSize"] % 64 == 0]


@pytest.mark.parametrize("scenario", replay_scenarios())
def test_the_replay_window_follows_the_vectors(scenario: dict) -> None:
    window = PythonReplayWindow(scenario["windowSize"])
    for step in scenario["steps"]:
        sequence = int(step["seq"])
        accepted = window.check(sequence)
        if accepted:
            window.mark(sequence)
        assert accepted == step["accept"], step
