from __future__ import annotations

import asyncio
import logging
from typing import Any

import pytest

from sideband._native import IdentityKeyPair
from sideband.errors import ConfigError, IdentityRefusedError, IdentityStoreError, SbrpErrorCode
from sideband.identity import IdentityTrust, MemoryIdentityKeyStore, TrustPolicy, Verdict, compute_fingerprint, decide
from sideband.identity.rotation import make_statement
from sideband.identity.trust import FollowRotation, follow_statements

PINNED = bytes(range(32))
RECEIVED = bytes(range(1, 33))
ID = "d_daemon"
POLICIES: list[TrustPolicy] = ["prompt", "accept-new", "auto", "pinned-only"]


@pytest.mark.parametrize(
    ("policy", "first_contact", "other_key"),
    [
        ("prompt", Verdict.ASK_FIRST, Verdict.ASK_MISMATCH),
        ("accept-new", Verdict.PIN, Verdict.FOLLOW_ROTATION),
        ("auto", Verdict.PIN, Verdict.REPIN),
        ("pinned-only", Verdict.REFUSE, Verdict.REFUSE),
    ],
)
def test_the_table_of_policies(policy: TrustPolicy, first_contact: Verdict, other_key: Verdict) -> None:
    assert decide(policy, None, RECEIVED) is first_contact
    assert decide(policy, PINNED, RECEIVED) is other_key
    assert decide(policy, RECEIVED, bytes(RECEIVED)) is Verdict.KNOWN


def test_prompt_is_the_default_and_needs_both_callbacks() -> None:
    store = MemoryIdentityKeyStore()
    for callbacks in ({}, {"on_first_connection": lambda _: True}, {"on_identity_mismatch": lambda *_: True}):
        with pytest.raises(ConfigError, match="both on_first_connection and on_identity_mismatch"):
            IdentityTrust(store, **callbacks)  # type: ignore[arg-type]
    assert prompting(store, True, True).policy == "prompt"


def test_an_unknown_policy_is_refused_at_construction() -> None:
    with pytest.raises(ConfigError, match="trust_policy is one of prompt, accept-new, auto, pinned-only"):
        IdentityTrust(MemoryIdentityKeyStore(), "trust-me")  # type: ignore[arg-type]


@pytest.mark.parametrize("policy", ["accept-new", "auto"])
async def test_first_contact_is_pinned_silently(policy: TrustPolicy, caplog: pytest.LogCaptureFixture) -> None:
    store = MemoryIdentityKeyStore()
    outcome = await IdentityTrust(store, policy).resolve(ID, RECEIVED)
    assert (outcome.identity_key, outcome.verdict, outcome.replaced) == (RECEIVED, Verdict.PIN, None)
    assert await store.get(ID) == RECEIVED
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]


@pytest.mark.parametrize("policy", POLICIES)
async def test_the_pinned_key_is_trusted_without_asking(policy: TrustPolicy) -> None:
    store = MemoryIdentityKeyStore({ID: RECEIVED})
    trust = IdentityTrust(store, policy, on_first_connection=never, on_identity_mismatch=never)
    outcome = await trust.resolve(ID, RECEIVED)
    assert (outcome.verdict, outcome.replaced) == (Verdict.KNOWN, None)


async def test_prompt_asks_with_the_fingerprint_then_pins() -> None:
    asked: list[tuple[str, ...]] = []

    async def first(*fingerprints: str) -> bool:
        asked.append(fingerprints)
        assert await store.get(ID) is None, "nothing is pinned before the answer"
        return True

    def mismatch(*fingerprints: str) -> bool:
        asked.append(fingerprints)
        return True

    store = MemoryIdentityKeyStore()
    trust = IdentityTrust(store, on_first_connection=first, on_identity_mismatch=mismatch)
    await trust.resolve(ID, PINNED)
    outcome = await trust.resolve(ID, RECEIVED)
    assert asked == [
        (compute_fingerprint(PINNED),),
        (compute_fingerprint(PINNED), compute_fingerprint(RECEIVED)),
    ]
    assert (outcome.verdict, outcome.replaced) == (Verdict.ASK_MISMATCH, PINNED)
    assert await store.get(ID) == RECEIVED


@pytest.mark.parametrize("answer", [False, None, 1, "yes"])
async def test_only_true_is_a_yes(answer: Any) -> None:
    fresh, known = MemoryIdentityKeyStore(), MemoryIdentityKeyStore({ID: PINNED})
    with pytest.raises(IdentityRefusedError) as caught:
        await prompting(fresh, answer, True).resolve(ID, RECEIVED)
    assert caught.value.code is SbrpErrorCode.HANDSHAKE_FAILED
    assert (caught.value.expected, caught.value.received) == (None, compute_fingerprint(RECEIVED))
    with pytest.raises(IdentityRefusedError) as caught:
        await prompting(known, True, answer).resolve(ID, RECEIVED)
    assert caught.value.code is SbrpErrorCode.IDENTITY_KEY_CHANGED
    assert (caught.value.expected, caught.value.received) == (
        compute_fingerprint(PINNED),
        compute_fingerprint(RECEIVED),
    )
    assert await fresh.get(ID) is None
    assert await known.get(ID) == PINNED


async def test_pinned_only_refuses_first_contact_and_other_keys() -> None:
    store = MemoryIdentityKeyStore()
    with pytest.raises(IdentityRefusedError, match="no key is pinned") as caught:
        await IdentityTrust(store, "pinned-only").resolve(ID, RECEIVED)
    assert caught.value.code is SbrpErrorCode.HANDSHAKE_FAILED
    await store.set(ID, PINNED)
    with pytest.raises(IdentityRefusedError, match="impersonating") as caught:
        await IdentityTrust(store, "pinned-only").resolve(ID, RECEIVED)
    assert caught.value.code is SbrpErrorCode.IDENTITY_KEY_CHANGED
    assert await store.get(ID) == PINNED


async def test_auto_repins_with_a_warning_and_an_event(caplog: pytest.LogCaptureFixture) -> None:
    changed: list[tuple[str, str]] = []
    store = MemoryIdentityKeyStore({ID: PINNED})
    trust = IdentityTrust(store, "auto", on_identity_changed=lambda *both: changed.append(both))
    outcome = await trust.resolve(ID, RECEIVED)
    assert (outcome.verdict, outcome.replaced) == (Verdict.REPIN, PINNED)
    assert changed == [(compute_fingerprint(PINNED), compute_fingerprint(RECEIVED))]
    assert await store.get(ID) == RECEIVED
    assert [record.levelname for record in caplog.records] == ["WARNING"]


async def test_accept_new_refuses_another_key_without_a_rotation() -> None:
    async def unsigned(*_: object) -> bool:
        return False

    store = MemoryIdentityKeyStore({ID: PINNED})
    for follow in (None, unsigned):
        with pytest.raises(IdentityRefusedError, match=r"refuses it|no rotation") as caught:
            await IdentityTrust(store, "accept-new", follow_rotation=follow).resolve(ID, RECEIVED)
        assert caught.value.code is SbrpErrorCode.IDENTITY_KEY_CHANGED
    assert await store.get(ID) == PINNED


async def test_accept_new_follows_a_rotation_signed_by_the_pinned_key() -> None:
    asked: list[tuple[str, bytes, bytes]] = []

    async def signed(*question: Any) -> bool:
        asked.append(question)
        return True

    store = MemoryIdentityKeyStore({ID: PINNED})
    outcome = await IdentityTrust(store, "accept-new", follow_rotation=signed).resolve(ID, RECEIVED)
    assert asked == [(ID, PINNED, RECEIVED)]
    assert (outcome.verdict, outcome.replaced) == (Verdict.FOLLOW_ROTATION, PINNED)
    assert await store.get(ID) == RECEIVED


async def test_accept_new_follows_a_chain_of_real_statements_and_no_false_one() -> None:
    first, second, third, stranger = (IdentityKeyPair.generate() for _ in range(4))
    chain = [
        make_statement(ID, first, second.public_key, 1),
        make_statement(ID, second, third.public_key, 2),
    ]
    false = [make_statement(ID, stranger, third.public_key, 1), make_statement("d_other", first, third.public_key, 1)]

    def trust(statements: list[bytes]) -> tuple[MemoryIdentityKeyStore, IdentityTrust]:
        async def fetch(daemon_id: str) -> list[bytes]:
            assert daemon_id == ID
            return statements

        store = MemoryIdentityKeyStore({ID: first.public_key})
        return store, IdentityTrust(store, "accept-new", follow_rotation=follow_statements(fetch))

    store, following = trust([*false, *chain])
    assert (await following.resolve(ID, third.public_key)).replaced == first.public_key
    assert await store.get(ID) == third.public_key
    for statements in ([], false, chain[1:], [chain[0][:-1] + b"x", chain[1]]):
        store, following = trust(statements)
        with pytest.raises(IdentityRefusedError):
            await following.resolve(ID, third.public_key)
        assert await store.get(ID) == first.public_key


@pytest.mark.parametrize("policy", ["prompt", "auto", "pinned-only"])
async def test_other_policies_never_look_for_rotations(policy: TrustPolicy) -> None:
    trust = IdentityTrust(
        MemoryIdentityKeyStore({ID: PINNED}),
        policy,
        on_first_connection=lambda _: True,
        on_identity_mismatch=lambda *_: True,
        follow_rotation=never_async,
    )
    if policy == "pinned-only":
        with pytest.raises(IdentityRefusedError):
            await trust.resolve(ID, RECEIVED)
    else:
        await trust.resolve(ID, RECEIVED)


class Broken(MemoryIdentityKeyStore):
    def __init__(self, at: str, error: BaseException | None) -> None:
        super().__init__()
        self.at, self.error = at, error

    async def get(self, daemon_id: str) -> bytes | None:
        await self._break("get")
        return await super().get(daemon_id)

    async def set(self, daemon_id: str, identity_key: bytes) -> None:
        await self._break("set")
        await super().set(daemon_id, identity_key)

    async def _break(self, at: str) -> None:
        if at == self.at:
            if self.error is None:
                await asyncio.Event().wait()
            else:
                raise self.error


@pytest.mark.parametrize("at", ["get", "set"])
@pytest.mark.parametrize("error", [OSError("disk gone"), TimeoutError("its own"), RuntimeError("bug")])
async def test_a_store_that_fails_ends_the_attempt(at: str, error: Exception) -> None:
    with pytest.raises(IdentityStoreError, match="the pin store") as caught:
        await IdentityTrust(Broken(at, error), "accept-new").resolve(ID, RECEIVED)
    assert caught.value.__cause__ is error


@pytest.mark.parametrize("at", ["get", "set"])
async def test_a_store_that_hangs_ends_the_attempt_within_its_timeout(at: str) -> None:
    trust = IdentityTrust(Broken(at, None), "accept-new", store_timeout=0.01)
    with pytest.raises(IdentityStoreError, match=r"within 0\.01 s"):
        await trust.resolve(ID, RECEIVED)


async def test_a_rotation_lookup_that_hangs_ends_the_attempt_too() -> None:
    async def hang(*_: object) -> bool:
        await asyncio.Event().wait()
        return True

    store = MemoryIdentityKeyStore({ID: PINNED})
    trust = IdentityTrust(store, "accept-new", follow_rotation=hang, store_timeout=0.01)
    with pytest.raises(IdentityStoreError, match=r"within 0\.01 s"):
        await trust.resolve(ID, RECEIVED)
    assert await store.get(ID) == PINNED


@pytest.mark.parametrize("pin", [b"short", "k" * 32])
async def test_a_store_that_answers_nonsense_is_not_believed(pin: Any) -> None:
    class Lying(MemoryIdentityKeyStore):
        async def get(self, daemon_id: str) -> bytes | None:
            return pin

    with pytest.raises(IdentityStoreError):
        await IdentityTrust(Lying(), "auto").resolve(ID, RECEIVED)


async def test_cancelling_passes_through() -> None:
    waiting = asyncio.Event()

    async def ask(_: str) -> bool:
        waiting.set()
        await asyncio.Event().wait()
        return True

    store = MemoryIdentityKeyStore()
    trust = IdentityTrust(store, on_first_connection=ask, on_identity_mismatch=never)
    task = asyncio.create_task(trust.resolve(ID, RECEIVED))
    await waiting.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert await store.get(ID) is None


async def test_a_callback_that_raises_ends_the_attempt_with_its_own_error() -> None:
    def ask(_: str) -> bool:
        raise LookupError("no terminal")

    store = MemoryIdentityKeyStore()
    with pytest.raises(LookupError, match="no terminal"):
        await IdentityTrust(store, on_first_connection=ask, on_identity_mismatch=never).resolve(ID, RECEIVED)
    assert await store.get(ID) is None


async def test_a_pin_made_by_another_process_meanwhile_is_a_mismatch_not_overwritten() -> None:
    store = MemoryIdentityKeyStore()

    async def slow_yes(_: str) -> bool:
        await store.set(ID, PINNED)
        return True

    with pytest.raises(IdentityRefusedError) as caught:
        await IdentityTrust(store, on_first_connection=slow_yes, on_identity_mismatch=lambda *_: False).resolve(
            ID, RECEIVED
        )
    assert caught.value.code is SbrpErrorCode.IDENTITY_KEY_CHANGED
    assert await store.get(ID) == PINNED


async def test_a_pin_that_never_settles_is_an_error() -> None:
    class Restless(MemoryIdentityKeyStore):
        turn = 0

        async def get(self, daemon_id: str) -> bytes | None:
            self.turn += 1
            return bytes([self.turn]) * 32

    with pytest.raises(IdentityStoreError, match="keeps changing"):
        await IdentityTrust(Restless(), "auto").resolve(ID, RECEIVED)


def prompting(store: MemoryIdentityKeyStore, first: Any, mismatch: Any) -> IdentityTrust:
    return IdentityTrust(store, on_first_connection=lambda _: first, on_identity_mismatch=lambda *_: mismatch)


def never(*_: str) -> bool:
    raise AssertionError("nobody is asked here")


async def never_async(*_: object) -> bool:
    raise AssertionError("nobody is asked here")


_: FollowRotation = never_async
