"""Key objects: what they show, that they are used once, and that they cannot be copied."""

import copy
import pickle
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from sideband import _native
from sideband.errors import ConfigError, SbrpError

SECRET = bytes.fromhex("5ec2e7" * 10 + "5ec2")
OBJECTS: dict[str, Callable[[], Any]] = {
    "identity": lambda: _native.IdentityKeyPair.from_private_bytes(SECRET),
    "ephemeral": lambda: _native.EphemeralKeyPair.from_private_bytes(SECRET),
    "keys": lambda: _native.SessionKeys.from_bytes(SECRET, SECRET),
    "client session": lambda: _native.ClientSession("c", _native.SessionKeys.from_bytes(SECRET, SECRET)),
    "daemon session": lambda: _native.DaemonSession(_native.SessionKeys.from_bytes(SECRET, SECRET)),
}


@pytest.mark.parametrize("make", OBJECTS.values(), ids=OBJECTS)
def test_nothing_secret_is_shown_copied_or_pickled(make: Callable[[], Any]) -> None:
    holder = make()
    for text in (repr(holder), str(holder), f"{holder}"):
        assert SECRET.hex() not in text.lower()
        assert repr(SECRET)[2:-1] not in text
    for call in (
        lambda: copy.copy(holder),
        lambda: copy.deepcopy(holder),
        *(lambda protocol=protocol: pickle.dumps(holder, protocol) for protocol in range(pickle.HIGHEST_PROTOCOL + 1)),
    ):
        with pytest.raises(TypeError, match="cannot be copied or pickled"):
            call()
    assert not hasattr(holder, "__dict__")


@pytest.mark.parametrize(
    "make", [_native.IdentityKeyPair, _native.EphemeralKeyPair, _native.SessionKeys], ids=lambda make: make.__name__
)
def test_keys_are_made_by_their_named_constructors_only(make: Callable[[], Any]) -> None:
    with pytest.raises(TypeError):
        make()


def test_generated_keys_differ() -> None:
    assert len({_native.IdentityKeyPair.generate().private_bytes() for _ in range(20)}) == 20
    assert len({_native.EphemeralKeyPair.generate().public_key for _ in range(20)}) == 20


def test_identity_round_trip() -> None:
    identity = _native.IdentityKeyPair.generate()
    again = _native.IdentityKeyPair.from_private_bytes(identity.private_bytes())
    assert again.public_key == identity.public_key
    assert _native.verify_signature(again.public_key, b"m", _native.sign(identity, b"m"))
    assert _native.compute_fingerprint(identity.public_key) in repr(identity)


def test_secrets_in_mutable_memory_are_read_and_stay_the_callers() -> None:
    mutable = bytearray(SECRET)
    identity, ephemeral = _native.IdentityKeyPair, _native.EphemeralKeyPair
    assert identity.from_private_bytes(mutable).public_key == identity.from_private_bytes(SECRET).public_key
    assert ephemeral.from_private_bytes(mutable).public_key == ephemeral.from_private_bytes(SECRET).public_key
    keys = _native.SessionKeys.from_bytes(mutable, memoryview(mutable))
    assert keys == _native.SessionKeys.from_bytes(SECRET, SECRET)
    assert mutable == SECRET
    for pair in ((mutable[1:], mutable), (mutable, mutable[1:])):
        with pytest.raises(SbrpError, match="a session key has 32 bytes, got 31"):
            _native.SessionKeys.from_bytes(*pair)


def test_session_keys_compare_and_are_no_dictionary_keys() -> None:
    one, same = (_native.SessionKeys.from_bytes(bytes(32), SECRET) for _ in range(2))
    first_differs = _native.SessionKeys.from_bytes(SECRET, SECRET)
    second_differs = _native.SessionKeys.from_bytes(bytes(32), bytes(32))
    assert one == same
    assert one == one
    assert one != first_differs
    assert one != second_differs
    assert one != "keys"
    with pytest.raises(TypeError):
        hash(one)
    _native.DaemonSession(same)
    assert same.consumed
    assert one != same
    assert same != same


def test_comparing_both_ways_round_in_threads_does_not_deadlock() -> None:
    one, other = (_native.SessionKeys.from_bytes(bytes(32), SECRET) for _ in range(2))
    start = threading.Barrier(2)

    def work(pair: tuple[_native.SessionKeys, _native.SessionKeys]) -> bool:
        start.wait()
        return all(pair[0] == pair[1] for _ in range(2000))

    with ThreadPoolExecutor(2) as pool:
        assert all(pool.map(work, [(one, other), (other, one)]))


def test_session_keys_make_one_session() -> None:
    keys = _native.SessionKeys.from_bytes(SECRET, SECRET)
    with pytest.raises(ConfigError):
        _native.DaemonSession(keys, replay_window=100)
    assert not keys.consumed
    _native.DaemonSession(keys)
    for make in (lambda: _native.DaemonSession(keys), lambda: _native.ClientSession("c", keys)):
        with pytest.raises(SbrpError, match="repeat nonces") as caught:
            make()
        assert caught.value.code == "session_cleared"


def test_an_ephemeral_key_pair_is_used_once_by_one_thread() -> None:
    identity = _native.IdentityKeyPair.generate()
    client = _native.EphemeralKeyPair.generate()
    accept, _ = _native.process_handshake_init(client.public_key, "d", identity)
    start = threading.Barrier(2)

    def finish(_: int) -> str:
        start.wait()
        try:
            _native.process_handshake_accept(accept, "d", None, client)
        except SbrpError as error:
            return error.code.value
        return "ok"

    with ThreadPoolExecutor(2) as pool:
        assert sorted(pool.map(finish, range(2))) == ["handshake_failed", "ok"]
    assert len(client.public_key) == 32


@pytest.mark.parametrize("failing", ["init", "daemon id", "accept", "pin"])
def test_a_failed_use_consumes_the_ephemeral_key_pair(failing: str) -> None:
    identity = _native.IdentityKeyPair.generate()
    pair = _native.EphemeralKeyPair.generate()
    accept, _ = _native.process_handshake_init(pair.public_key, "d", identity)
    calls = {
        "init": lambda: _native.process_handshake_init(bytes(31), "d", identity, pair),
        "daemon id": lambda: _native.process_handshake_accept(accept, "e", None, pair),
        "accept": lambda: _native.process_handshake_accept(accept[1:], "d", None, pair),
        "pin": lambda: _native.process_handshake_accept(accept, "d", bytes(32), pair),
    }
    with pytest.raises(SbrpError):
        calls[failing]()
    assert pair.consumed
    with pytest.raises(SbrpError, match="used before"):
        _native.process_handshake_init(_native.EphemeralKeyPair.generate().public_key, "d", identity, pair)


def test_a_daemon_id_that_is_no_text_is_refused() -> None:
    identity = _native.IdentityKeyPair.generate()
    with pytest.raises(UnicodeEncodeError):
        _native.process_handshake_init(bytes(32), "\ud800", identity)


def test_a_wrong_pin_is_told_with_the_fingerprint_that_came() -> None:
    identity, client = _native.IdentityKeyPair.generate(), _native.EphemeralKeyPair.generate()
    accept, _ = _native.process_handshake_init(client.public_key, "d", identity)
    for pin in (bytes(32), identity.public_key[:31], b"", identity.public_key + b"\0"):
        fresh = _native.EphemeralKeyPair.generate()
        with pytest.raises(SbrpError) as caught:
            _native.process_handshake_accept(accept, "d", pin, fresh)
        assert caught.value.code == "identity_key_changed"
        assert _native.compute_fingerprint(identity.public_key) in str(caught.value)
