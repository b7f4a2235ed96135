"""Whom each side of a direct session takes: what is verified first, what the policies say, what is pinned."""

from __future__ import annotations

import asyncio
import logging
import os
from typing import Any

import msgpack
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from sideband._native import NoiseKeyPair
from sideband.errors import IdentityRefusedError, IdentityStoreError, SbdpError, SidebandError, TransportError
from sideband.identity import IdentityTrust, MemoryIdentityKeyStore, TrustPolicy, compute_fingerprint
from sideband.peer import RetryPolicy
from tests.direct.conftest import Sides
from tests.direct.test_second_implementation import dialled, listening
from tests.support.manual_clock import settle
from tests.support.relay_harness import until
from tests.support.sbdp_by_hand import Side, prologue

OLD = NoiseKeyPair.generate().public_key
ASKED: list[tuple[str, ...]] = []


def answering(answer: bool) -> dict[str, Any]:
    def asked(*fingerprints: str) -> bool:
        ASKED.append(fingerprints)
        return answer

    return {"on_first_connection": asked, "on_identity_mismatch": asked}


# (policy, the answer under prompt, what is pinned before) -> whether the key is taken
CASES: list[tuple[TrustPolicy, bool, bytes | None, bool]] = [
    ("prompt", True, None, True),
    ("prompt", False, None, False),
    ("prompt", True, OLD, True),
    ("prompt", False, OLD, False),
    ("accept-new", False, None, True),
    ("accept-new", False, OLD, False),
    ("auto", False, None, True),
    ("auto", False, OLD, True),
    ("pinned-only", False, None, False),
    ("pinned-only", False, OLD, False),
]


@pytest.mark.parametrize("listener", [False, True], ids=["dialler", "listener"])
@pytest.mark.parametrize(
    ("policy", "answer", "before", "taken"), CASES, ids=lambda value: "known" if value == OLD else None
)
async def test_the_policies_hold_on_either_side(
    sides: Sides, policy: TrustPolicy, answer: bool, before: bytes | None, taken: bool, listener: bool
) -> None:
    name, key = ("laptop", sides.laptop.public_key) if listener else ("studio", sides.studio.public_key)
    pins = MemoryIdentityKeyStore({} if before is None else {name: before})
    judging: dict[str, Any] = {"identity_key_store": pins, "trust_policy": policy}
    if policy == "prompt":
        judging |= answering(answer)
    ASKED.clear()
    async with await sides.listen(**judging if listener else {}) as server:
        peer = sides.dial(server, **{} if listener else judging, retry=RetryPolicy(mode="on-error"))
        if taken:
            async with peer:
                assert await peer.rpc.call("echo", 1) == 1
        else:
            with pytest.raises(SbdpError if listener else IdentityRefusedError):
                await peer.connect()
            assert peer.closed
            assert not sides.peers
            await peer.disconnect()
    assert await pins.get(name) == (key if taken else before)
    shown = (compute_fingerprint(key),) if before is None else (compute_fingerprint(OLD), compute_fingerprint(key))
    expected = [shown] if policy == "prompt" else []
    assert expected == ASKED


class Forger(Side):
    """Signs something else than this handshake, or in another's name."""

    def __init__(self, what: str, **settings: Any) -> None:
        super().__init__(**settings)
        self.what = what

    def payload(self) -> bytes:
        fields = msgpack.unpackb(super().payload())
        match self.what:
            case "another's key":
                fields["ed25519"] = Ed25519PrivateKey.generate().public_key().public_bytes_raw()
            case "no context":
                assert self.signer is not None
                fields["sig"] = self.signer.sign(self.noise.hash)
            case "an earlier handshake":
                hashed, self.noise.hash = self.noise.hash, bytes(32)
                fields = msgpack.unpackb(super().payload())
                self.noise.hash = hashed
            case "another version":
                fields["v"] = 2
        packed: bytes = msgpack.packb(fields)
        return packed


FORGED = ["another's key", "no context", "an earlier handshake", "another version"]


def forger(what: str, name: str, key: NoiseKeyPair, *, initiator: bool) -> Forger:
    settings: dict[str, Any] = {"initiator": initiator, "static": key.private_bytes(), "ephemeral": os.urandom(32)}
    signer = Ed25519PrivateKey.generate()
    return Forger(what, name=name, bound_to=prologue("tcp"), signer=signer, **settings)


@pytest.mark.parametrize("what", FORGED)
async def test_a_dialler_asks_and_pins_nothing_before_the_signature_is_verified(sides: Sides, what: str) -> None:
    pins = MemoryIdentityKeyStore()
    ASKED.clear()

    async def serve(wire: Any) -> None:
        await wire.send(forger(what, "studio", sides.studio, initiator=False).second(await wire.receive()))
        with pytest.raises(asyncio.IncompleteReadError):  # not even message 3 comes, with this side's key and name
            await wire.receive()

    async with listening("tcp", serve) as address:
        peer = sides.dial(address, identity_key_store=pins, trust_policy="prompt", **answering(True))
        with pytest.raises(SbdpError, match="handshake_failed"):
            await peer.connect()
        assert peer.closed
        await peer.disconnect()
    assert (ASKED, await pins.entries()) == ([], {})


@pytest.mark.parametrize("what", FORGED)
async def test_a_listener_asks_and_pins_nothing_before_the_signature_is_verified(sides: Sides, what: str) -> None:
    pins = MemoryIdentityKeyStore()
    ASKED.clear()
    async with (
        await sides.listen(identity_key_store=pins, trust_policy="prompt", **answering(True)) as server,
        dialled(server.address) as wire,
    ):
        side = forger(what, "laptop", sides.laptop, initiator=True)
        await wire.send(side.first())
        await wire.send(side.third(await wire.receive())[0])
        with pytest.raises(asyncio.IncompleteReadError):
            await wire.receive()
    assert (ASKED, await pins.entries(), sides.peers) == ([], {}, [])


class Broken(MemoryIdentityKeyStore):
    """A store whose disk is full, or gone, until it is mended."""

    def __init__(self, call: str) -> None:
        super().__init__()
        self.call = call

    async def get(self, daemon_id: str) -> bytes | None:
        if self.call == "get":
            raise OSError("no such disk")
        return await super().get(daemon_id)

    async def set(self, daemon_id: str, public_key: bytes) -> None:
        if self.call == "set":
            raise OSError("the disk is full")
        await super().set(daemon_id, public_key)


@pytest.mark.parametrize("call", ["get", "set"])
async def test_a_dialler_whose_store_fails_does_not_connect(sides: Sides, call: str) -> None:
    pins = Broken(call)
    async with await sides.listen() as server:
        peer = sides.dial(server, identity_key_store=pins)
        with pytest.raises(IdentityStoreError):
            await peer.connect()
        await peer.disconnect()
        assert not sides.peers
        pins.call = ""
        async with sides.dial(server, identity_key_store=pins) as peer:
            assert await peer.rpc.call("echo", 1) == 1


@pytest.mark.parametrize("call", ["get", "set"])
async def test_a_listener_whose_store_fails_lets_nobody_in_and_the_dialler_may_try_again(
    sides: Sides, call: str
) -> None:
    pins = Broken(call)
    async with await sides.listen(identity_key_store=pins, trust_policy="accept-new") as server:
        peer = sides.dial(server)
        with pytest.raises(TransportError):
            await peer.connect()
        await peer.disconnect()
        assert not sides.peers
        pins.call = ""
        async with sides.dial(server) as peer:
            assert await peer.rpc.call("echo", 1) == 1


async def test_two_sides_of_one_name_pin_each_other(sides: Sides) -> None:
    theirs = MemoryIdentityKeyStore({"same": sides.laptop.public_key})
    ours = MemoryIdentityKeyStore()
    async with (
        await sides.listen(name="same", identity_key_store=theirs) as server,
        sides.dial(server, name="same", remote_name="same", identity_key_store=ours) as peer,
    ):
        assert await peer.rpc.call("echo", 1) == 1
    assert await ours.get("same") == sides.studio.public_key
    assert await theirs.get("same") == sides.laptop.public_key


async def test_two_sides_of_one_name_that_share_a_store_refuse_each_other_and_no_pin_changes(sides: Sides) -> None:
    shared = MemoryIdentityKeyStore({"same": sides.studio.public_key})
    async with await sides.listen(name="same", identity_key_store=shared) as server:
        peer = sides.dial(server, name="same", remote_name="same", identity_key_store=shared)
        with pytest.raises(SbdpError, match="session_closed"):
            await peer.connect()
        await peer.disconnect()
    assert await shared.entries() == {"same": sides.studio.public_key}


async def test_a_pin_of_a_daemon_behind_a_relay_is_no_pin_of_a_direct_session(sides: Sides) -> None:
    """An Ed25519 key under the same name in the same store: refused, and it stays what it was."""
    identity = Ed25519PrivateKey.generate().public_key().public_bytes_raw()
    pins = MemoryIdentityKeyStore({"studio": identity})
    async with await sides.listen() as server:
        with pytest.raises(IdentityRefusedError):
            await sides.dial(server, identity_key_store=pins).connect()
    assert await pins.get("studio") == identity


async def test_a_callback_may_take_longer_than_a_handshake(sides: Sides) -> None:
    """Time in which somebody decides is not counted, on either side."""
    asked: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    decided: asyncio.Future[bool] = asyncio.get_running_loop().create_future()

    async def ask(*_: str) -> bool:
        asked.set_result(None)
        return await decided

    trust = IdentityTrust(MemoryIdentityKeyStore(), "prompt", on_first_connection=ask, on_identity_mismatch=ask)
    async with await sides.listen(
        identity_key_store=None, trust=trust, half_open_seconds=0.05, max_half_open=1
    ) as server:
        peer = sides.dial(server)
        connecting = asyncio.create_task(peer.connect())
        await asked
        # A whole handshake's time later, by the listener's own clock, and with somebody else in its only place.
        async with dialled(server.address) as wire:
            with pytest.raises(asyncio.IncompleteReadError):
                await wire.receive()
        decided.set_result(True)
        await connecting
        await peer.disconnect()
        assert [peer.remote_name for peer in sides.peers] == ["laptop"]


@pytest.mark.parametrize("transport", ["tcp", "ws"])
async def test_a_dialler_that_decides_for_longer_than_the_listener_waits_is_told_to_come_again(
    sides: Sides, transport: str
) -> None:
    pins, left = MemoryIdentityKeyStore(), asyncio.Event()

    async def ask(*_: str) -> bool:
        await left.wait()
        return True

    def dial(server: Any, **more: Any) -> Any:
        trust = IdentityTrust(pins, "prompt", on_first_connection=ask, on_identity_mismatch=ask)
        return sides.dial(server, identity_key_store=None, trust=trust, **more)

    async with await sides.listen(f"{transport}://127.0.0.1:0", half_open_seconds=0.05) as server:
        peer = dial(server)
        connecting = asyncio.create_task(peer.connect())
        serving = server._serving  # type: ignore[attr-defined]
        await until(lambda: bool(serving))
        await until(lambda: not serving)
        await settle()
        left.set()
        with pytest.raises(SbdpError, match=r"handshake_timeout: .* connect again"):
            await connecting
        await peer.disconnect()
        assert await pins.get("studio") == sides.studio.public_key
        async with dial(server) as peer:
            assert await peer.rpc.call("echo", 1) == 1


async def test_who_waits_for_a_decision_has_a_place_to_lose_and_who_is_known_still_gets_in(sides: Sides) -> None:
    asked: asyncio.Queue[str] = asyncio.Queue()
    dropped: asyncio.Queue[str] = asyncio.Queue()

    async def ask(fingerprint: str, *_: str) -> bool:
        asked.put_nowait(fingerprint)
        try:
            return await asyncio.get_running_loop().create_future()
        finally:
            dropped.put_nowait(fingerprint)

    trust = IdentityTrust(sides.studio_pins, "prompt", on_first_connection=ask, on_identity_mismatch=ask)
    strangers = [NoiseKeyPair.generate() for _ in range(3)]
    async with await sides.listen(identity_key_store=None, trust=trust, max_half_open=2) as server:
        attempts = []
        for number, key in enumerate(strangers):
            peer = sides.dial(server, name=f"stranger {number}", key=key)
            attempts.append((peer, asyncio.create_task(peer.connect())))
            assert await asked.get() == compute_fingerprint(key.public_key)
        assert await dropped.get() == compute_fingerprint(strangers[0].public_key)
        async with sides.dial(server) as known:
            assert await known.rpc.call("echo", 1) == 1
        # The one that came in took the place of the next oldest for the moment of its own decision.
        assert await dropped.get() == compute_fingerprint(strangers[1].public_key)
        assert dropped.empty()
        for peer, connecting in attempts:
            await peer.disconnect()
            with pytest.raises(SidebandError):
                await connecting


@pytest.mark.parametrize("endpoint", ["tcp://127.0.0.1:0", "ws://127.0.0.1:0/"])
async def test_a_listener_that_closes_waits_neither_for_strangers_nor_for_decisions(
    sides: Sides, endpoint: str
) -> None:
    asked = asyncio.Event()

    async def ask(*_: str) -> bool:
        asked.set()
        return await asyncio.get_running_loop().create_future()

    trust = IdentityTrust(MemoryIdentityKeyStore(), "prompt", on_first_connection=ask, on_identity_mismatch=ask)
    server = await sides.listen(endpoint, identity_key_store=None, trust=trust, half_open_seconds=3600.0)
    peer = sides.dial(server)
    connecting = asyncio.create_task(peer.connect())
    await asked.wait()
    async with dialled(server.address) as wire:
        await wire.send(b"\x01" + sides.laptop.public_key)
        await wire.receive()
        await server.close()
        with pytest.raises((asyncio.IncompleteReadError, ConnectionError, TypeError)):
            await wire.receive()
    with pytest.raises(SidebandError):
        await connecting
    await peer.disconnect()
    assert not sides.peers


async def test_no_secret_is_told_to_a_log_or_an_error(sides: Sides, caplog: pytest.LogCaptureFixture) -> None:
    texts: list[str] = []
    with caplog.at_level(logging.DEBUG):
        async with await sides.listen() as server:
            async with sides.dial(server) as peer:
                await peer.rpc.call("echo", "a secret of the application")
            for wrong in (MemoryIdentityKeyStore({"studio": OLD}), Broken("get")):
                with pytest.raises(SidebandError) as error:
                    await sides.dial(server, identity_key_store=wrong).connect()
                texts.append(repr(error.value) + str(error.value))
    told = "\n".join([caplog.text, *texts, repr(sides.laptop), repr(peer)]).lower()
    for secret in (sides.laptop.private_bytes(), sides.studio.private_bytes()):
        assert secret.hex() not in told
        assert repr(secret)[2:-1].lower() not in told
    assert "a secret of the application" not in told
