"""Every case of sbrp-data.json, and our behaviour where it differs on purpose."""

import hashlib
import json
from pathlib import Path

import pytest

from sideband import secure_relay as sr
from sideband.errors import SbrpError
from sideband.secure_relay.sessions import Session

VECTORS = json.loads((Path(__file__).parents[1] / "vectors" / "sbrp-data.json").read_text())
KEYS = {name: bytes.fromhex(value) for name, value in VECTORS["keys"].items()}
DIVERGENT = {"forged-then-genuine", "forged-far-future", "direction-field-not-checked", "too-short-28-minus-1"}


def sessions(client_to_daemon: bytes | None = None, daemon_to_client: bytes | None = None) -> tuple[Session, Session]:
    """Return the client's and the daemon's session over the vectors' keys, or others."""
    pair = client_to_daemon or KEYS["clientToDaemon"], daemon_to_client or KEYS["daemonToClient"]
    client = sr.create_daemon_session(sr.SessionKeys.from_bytes(*pair))
    daemon = sr.create_client_session("client", sr.SessionKeys.from_bytes(*pair))
    return client, daemon


def encrypt(client: Session, daemon: Session, direction: str, plaintext: bytes) -> bytes:
    if direction == "clientToDaemon":
        return sr.encrypt_client_to_daemon(client, plaintext)
    return sr.encrypt_daemon_to_client(daemon, plaintext)


def decrypt(client: Session, daemon: Session, direction: str, payload: bytes) -> bytes:
    if direction == "clientToDaemon":
        return sr.decrypt_client_to_daemon(daemon, payload)
    return sr.decrypt_daemon_to_client(client, payload)


def pattern(size: int) -> bytes:
    return bytes(i * 7 % 256 for i in range(size))


@pytest.mark.parametrize(
    "case", VECTORS["cases"], ids=lambda case: f"{case['direction']}-{case['seq']}-{case['plaintextLength']}"
)
def test_case(case: dict) -> None:
    secret = bytes.fromhex(case["key"])
    client, daemon = sessions(
        client_to_daemon=secret if case["direction"] == "clientToDaemon" else None,
        daemon_to_client=secret if case["direction"] == "daemonToClient" else None,
    )
    sender = client if case["direction"] == "clientToDaemon" else daemon
    sender._advance_send_sequence(int(case["seq"]))
    plaintext = pattern(case["plaintextLength"])
    payload = encrypt(client, daemon, case["direction"], plaintext)
    assert payload[:12].hex() == case["nonce"]
    if "payload" in case:
        assert plaintext.hex() == case["plaintext"]
        assert payload.hex() == case["payload"]
    else:
        assert hashlib.sha256(plaintext).hexdigest() == case["plaintextSha256"]
        assert len(payload) == case["payloadLength"]
        assert hashlib.sha256(payload).hexdigest() == case["payloadSha256"]
        assert payload[:32].hex() == case["payloadFirst32"]
        assert payload[-32:].hex() == case["payloadLast32"]
    frame = sr.encode_data(int(case["frameSessionId"]), payload)
    assert hashlib.sha256(frame).hexdigest() == case["frameSha256"]
    assert decrypt(client, daemon, case["direction"], payload) == plaintext

    # The batch and the ready frame are the same bytes.
    for seal in (
        lambda session: session.seal_frame(int(case["frameSessionId"]), plaintext),
        lambda session: session.seal_frames(int(case["frameSessionId"]), [plaintext])[0],
    ):
        again_client, again_daemon = sessions(
            client_to_daemon=secret if case["direction"] == "clientToDaemon" else None,
            daemon_to_client=secret if case["direction"] == "daemonToClient" else None,
        )
        again, receiver = (
            (again_client, again_daemon) if case["direction"] == "clientToDaemon" else (again_daemon, again_client)
        )
        again._advance_send_sequence(int(case["seq"]))
        assert seal(again) == frame
        assert receiver.open_frames([frame]) == [plaintext]


def test_conversation() -> None:
    client, daemon = sessions()
    for step in VECTORS["conversation"]:
        payload = encrypt(client, daemon, step["direction"], bytes.fromhex(step["plaintext"]))
        assert payload.hex() == step["payload"]
        assert sr.decode_data(sr.decode_frame(sr.encode_data(1, payload))).sequence == int(step["seq"])
        assert decrypt(client, daemon, step["direction"], payload).hex() == step["plaintext"]


@pytest.mark.parametrize(
    "scenario",
    [scenario for scenario in VECTORS["receive"] if scenario["name"] not in DIVERGENT],
    ids=lambda scenario: scenario["name"],
)
def test_receive(scenario: dict) -> None:
    client, daemon = sessions()
    for step in scenario["steps"]:
        payload = bytes.fromhex(step["payload"])
        if step["expect"]["ok"]:
            assert decrypt(client, daemon, step["direction"], payload).hex() == step["expect"]["plaintext"]
        else:
            with pytest.raises(SbrpError) as caught:
                decrypt(client, daemon, step["direction"], payload)
            assert caught.value.code == step["expect"]["code"]


def ours(name: str, outcomes: list[str]) -> None:
    """Check our outcome of each step: a code, or "ok"."""
    (scenario,) = [scenario for scenario in VECTORS["receive"] if scenario["name"] == name]
    client, daemon = sessions()
    for step, expected in zip(scenario["steps"], outcomes, strict=True):
        payload = bytes.fromhex(step["payload"])
        if expected == "ok":
            decrypt(client, daemon, step["direction"], payload)
        else:
            with pytest.raises(SbrpError) as caught:
                decrypt(client, daemon, step["direction"], payload)
            assert caught.value.code == expected


def test_a_forged_message_does_not_use_up_its_sequence_number() -> None:
    ours("forged-then-genuine", ["ok", "decrypt_failed", "ok", "ok"])


def test_a_forged_message_does_not_move_the_window() -> None:
    ours("forged-far-future", ["ok", "decrypt_failed", "ok"])


def test_the_direction_is_checked() -> None:
    ours("direction-field-not-checked", ["decrypt_failed", "ok"])


def test_a_short_message_does_not_use_up_its_sequence_number() -> None:
    ours("too-short-28-minus-1", ["decrypt_failed", "ok"])


@pytest.mark.parametrize(
    "case", [case for case in VECTORS["limits"] if "plaintextLength" in case], ids=lambda case: case["plaintextLength"]
)
def test_largest_plaintext(case: dict) -> None:
    client, _ = sessions()
    plaintext = pattern(case["plaintextLength"])
    if case["encodeDataFrame"]["ok"]:
        payload = client.seal(plaintext)
        assert len(payload) == case["encrypt"]["payloadLength"]
        assert hashlib.sha256(payload).hexdigest() == case["encrypt"]["payloadSha256"]
        assert len(sr.encode_data(1, payload)) == case["encodeDataFrame"]["frameLength"]
        return
    # The reference encrypts what its own frame encoder then refuses; ours refuses before a number is spent.
    for call in (
        lambda: client.seal(plaintext),
        lambda: client.seal_frame(1, plaintext),
        lambda: client.seal_frames(1, [b"", plaintext]),
    ):
        with pytest.raises(SbrpError) as caught:
            call()
        assert caught.value.code == "payload_too_large"
    assert client.send_sequence == 0


@pytest.mark.parametrize(
    "case", [case for case in VECTORS["limits"] if "payloadLength" in case], ids=lambda case: case["payloadLength"]
)
def test_smallest_payload(case: dict) -> None:
    payload = bytes.fromhex("00000001") + bytes(24)
    payload = payload[: case["payloadLength"]]
    with pytest.raises(SbrpError) as caught:
        sr.encode_data(1, payload)
    assert caught.value.code == case["encodeDataFrame"]["code"]
    with pytest.raises(SbrpError) as caught:
        sr.decode_data(sr.Frame(sr.FrameType.DATA, 1, payload))
    assert caught.value.code == case["decodeDataFrame"]["code"]
    _, daemon = sessions()
    with pytest.raises(SbrpError) as caught:
        daemon.open(payload)
    assert caught.value.code == "decrypt_failed"
    assert daemon.highest_received is None


def test_exhaustion_ends_the_session_and_never_wraps_the_nonce() -> None:
    first, second, *_ = VECTORS["exhaustion"]["steps"]
    client, daemon = sessions()
    client._advance_send_sequence(int(first["counterBefore"]))
    # The vectors do not say what was encrypted; the receiver tells.
    payload = bytes.fromhex(first["reference"]["payload"])
    plaintext = daemon.open(payload)
    assert client.seal(plaintext) == payload
    assert client.send_sequence == int(second["counterBefore"]) == 2**64 - 1
    with pytest.raises(SbrpError) as caught:
        client.seal(plaintext)
    assert caught.value.code == "sequence_error"
    assert client.cleared
    for call in (lambda: client.seal(b""), lambda: client.open(daemon.seal(b""))):
        with pytest.raises(SbrpError) as caught:
            call()
        assert caught.value.code == "session_cleared"


def test_a_batch_beyond_the_last_sequence_number_seals_nothing() -> None:
    client, _ = sessions()
    client._advance_send_sequence(2**64 - 2)
    with pytest.raises(SbrpError) as caught:
        client.seal_frames(1, [b"one", b"two"])
    assert caught.value.code == "sequence_error"
    assert client.send_sequence == 2**64 - 2
    assert client.cleared


def test_send_sequence_only_goes_forward() -> None:
    client, _ = sessions()
    client._advance_send_sequence(5)
    with pytest.raises(ValueError, match="only goes forward"):
        client._advance_send_sequence(4)
    assert client.send_sequence == 5


def test_a_cleared_session_refuses_everything() -> None:
    """The reference goes on with keys of zeros; its vector is what must never be accepted or produced."""
    case = VECTORS["clearedSession"]
    client, daemon = sessions()
    frame = client.seal_frame(1, b"before")
    sr.clear_daemon_session(client)
    sr.clear_client_session(daemon)
    sr.clear_client_session(daemon)
    for call in (
        lambda: sr.encrypt_client_to_daemon(client, bytes.fromhex(case["plaintext"])),
        lambda: sr.decrypt_client_to_daemon(daemon, bytes.fromhex(case["payload"])),
        lambda: sr.encrypt_daemon_to_client(daemon, b""),
        lambda: client.seal_frames(1, [b""]),
        lambda: daemon.open_frame(frame),
        lambda: daemon.open_frames([frame]),
    ):
        with pytest.raises(SbrpError) as caught:
            call()
        assert caught.value.code == "session_cleared"
    assert client.cleared
    assert daemon.cleared
    assert not client.check_integrity()


def test_the_wrong_sides_session_is_refused() -> None:
    client, daemon = sessions()
    payload = client.seal(b"")
    for call in (
        lambda: sr.encrypt_client_to_daemon(daemon, b""),
        lambda: sr.encrypt_daemon_to_client(client, b""),
        lambda: sr.decrypt_client_to_daemon(client, payload),
        lambda: sr.decrypt_daemon_to_client(daemon, payload),
        lambda: sr.clear_client_session(client),
        lambda: sr.clear_daemon_session(daemon),
    ):
        with pytest.raises(TypeError, match="expected a"):
            call()
    assert sr.decrypt_client_to_daemon(daemon, payload) == b""
