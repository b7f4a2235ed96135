"""Whether a daemon's identity key is the one to talk to (docs/protocol/trust.md).

By the time anything here is asked, the key has proved itself: the handshake's signature verified under it. What is left
to decide is whether it is the right key, before it is pinned, and before session keys are derived from the handshake.
"""

from __future__ import annotations

import asyncio
import hmac
import inspect
import logging
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from enum import Enum
from typing import Any, Literal, TypeVar, get_args

from sideband._native import compute_fingerprint
from sideband.daemon_id import check_daemon_id
from sideband.errors import ConfigError, IdentityRefusedError, IdentityStoreError, SidebandError
from sideband.identity.rotation import leads_to
from sideband.identity.store import IdentityKeyStore, check_pin

__all__ = [
    "DEFAULT_STORE_TIMEOUT",
    "IdentityTrust",
    "TrustOutcome",
    "TrustPolicy",
    "Verdict",
    "decide",
    "follow_statements",
]

logger = logging.getLogger("sideband.identity")

TrustPolicy = Literal["prompt", "accept-new", "auto", "pinned-only"]
"""What to do with a key seen for the first time, or in place of another (docs/protocol/trust.md, "Policies")."""

DEFAULT_STORE_TIMEOUT = 10.0
"""Seconds one call of a pin store may take."""

OnFirstConnection = Callable[[str], bool | Awaitable[bool]]
"""Asked with the fingerprint of a key seen for the first time; True pins it."""

OnIdentityMismatch = Callable[[str, str], bool | Awaitable[bool]]
"""Asked with the fingerprints (expected, received); True pins the received key in place of the expected one."""

OnIdentityChanged = Callable[[str, str], None]
"""Told the fingerprints (expected, received) once the received key has replaced the expected one."""

FollowRotation = Callable[[str, bytes, bytes], Awaitable[bool]]
"""Asked (daemon id, pinned key, received key): True when statements signed by the pinned key lead to the received one
(docs/protocol/rotation.md)."""

_Answer = TypeVar("_Answer")

# Each pass means that another process changed the pin while this one was deciding.
_MAX_PASSES = 4


class Verdict(Enum):
    """What a policy says about a key whose signature has verified."""

    KNOWN = "known"
    """It is the pinned key."""
    PIN = "pin"
    """First contact: pin it."""
    ASK_FIRST = "ask-first"
    """First contact: pin it if the user says so."""
    REPIN = "repin"
    """Another key was pinned: replace it, with a warning."""
    ASK_MISMATCH = "ask-mismatch"
    """Another key was pinned: replace it if the user says so."""
    FOLLOW_ROTATION = "follow-rotation"
    """Another key was pinned: replace it if that key signed a rotation to this one, refuse otherwise."""
    REFUSE = "refuse"
    """End the attempt for good."""


_FIRST_CONTACT: dict[TrustPolicy, Verdict] = {
    "prompt": Verdict.ASK_FIRST,
    "accept-new": Verdict.PIN,
    "auto": Verdict.PIN,
    "pinned-only": Verdict.REFUSE,
}
_OTHER_KEY: dict[TrustPolicy, Verdict] = {
    "prompt": Verdict.ASK_MISMATCH,
    "accept-new": Verdict.FOLLOW_ROTATION,
    "auto": Verdict.REPIN,
    "pinned-only": Verdict.REFUSE,
}


def decide(policy: TrustPolicy, pinned: bytes | None, received: bytes) -> Verdict:
    """Return what `policy` says about `received` when `pinned` is the key on record, None for no record."""
    if pinned is None:
        return _FIRST_CONTACT[policy]
    return Verdict.KNOWN if hmac.compare_digest(pinned, received) else _OTHER_KEY[policy]


def follow_statements(statements: Callable[[str], Awaitable[Iterable[bytes]]]) -> FollowRotation:
    """Return what `IdentityTrust` takes as `follow_rotation`, for statements that `statements(daemon_id)` fetches.

    They come oldest first and need not be trusted: each is verified under the key that it ends.
    """

    async def follow(daemon_id: str, pinned: bytes, received: bytes) -> bool:
        return leads_to(daemon_id, pinned, received, await statements(daemon_id))

    return follow


@dataclass(frozen=True, slots=True)
class TrustOutcome:
    """A key that may be talked to.

    Attributes:
        identity_key: the key, 32 bytes; it is pinned by now.
        verdict: why it is trusted.
        replaced: the key that was pinned before it, when it took that one's place.
    """

    identity_key: bytes
    verdict: Verdict
    replaced: bytes | None = None


class IdentityTrust:
    """A policy together with the store it reads and the callbacks it asks.

    Args:
        store: where pins are kept.
        policy: `prompt` (default), `accept-new`, `auto` or `pinned-only`, as the table of docs/protocol/trust.md.
        on_first_connection: asked under `prompt`; sync or async. It may take as long as it likes.
        on_identity_mismatch: asked under `prompt`; sync or async. It may take as long as it likes.
        on_identity_changed: told after a key was replaced, under any policy.
        follow_rotation: looks up and verifies rotation statements under `accept-new`; None refuses every other key.
        store_timeout: seconds one call of the store, or of `follow_rotation`, may take.

    Raises:
        ConfigError: the policy is unknown, or is `prompt` without both callbacks.
    """

    def __init__(
        self,
        store: IdentityKeyStore,
        policy: TrustPolicy = "prompt",
        *,
        on_first_connection: OnFirstConnection | None = None,
        on_identity_mismatch: OnIdentityMismatch | None = None,
        on_identity_changed: OnIdentityChanged | None = None,
        follow_rotation: FollowRotation | None = None,
        store_timeout: float = DEFAULT_STORE_TIMEOUT,
    ) -> None:
        if policy not in get_args(TrustPolicy):
            msg = f"trust_policy is one of {', '.join(get_args(TrustPolicy))}; got {policy!r}"
            raise ConfigError(msg)
        if policy == "prompt" and (on_first_connection is None or on_identity_mismatch is None):
            msg = (
                "trust_policy 'prompt' needs both on_first_connection and on_identity_mismatch; "
                "pass them, or choose 'accept-new' to pin on first contact without asking"
            )
            raise ConfigError(msg)
        self.store = store
        self.policy: TrustPolicy = policy
        self.store_timeout = store_timeout
        self._on_first_connection = on_first_connection
        self._on_identity_mismatch = on_identity_mismatch
        self._on_identity_changed = on_identity_changed
        self._follow_rotation = follow_rotation

    async def resolve(self, daemon_id: str, received: bytes) -> TrustOutcome:
        """Decide on `received`, whose signature has verified, and pin it where the policy says so.

        Returns only when the key may be talked to. Errors of the callbacks pass through unchanged.

        Raises:
            IdentityRefusedError: the policy or the user refused the key; retrying cannot help.
            IdentityStoreError: the store failed, or did not answer within `store_timeout`.
            ConfigError: `daemon_id` is not a daemon id.
        """
        check_daemon_id(daemon_id)
        received = check_pin(daemon_id, received)
        pinned = await self._pinned(daemon_id)
        for _ in range(_MAX_PASSES):
            verdict = decide(self.policy, pinned, received)
            if verdict is Verdict.KNOWN:
                return TrustOutcome(received, verdict)
            await self._agree(verdict, daemon_id, pinned, received)
            # A user can take minutes to answer; what the answer was about must still be so when it is acted on.
            now_pinned = await self._pinned(daemon_id)
            if now_pinned == pinned:
                await self._store_call(self.store.set(daemon_id, received), "write")
                self._report(verdict, daemon_id, pinned, received)
                return TrustOutcome(received, verdict, replaced=pinned)
            pinned = now_pinned
        msg = f"the pin of daemon {daemon_id} keeps changing under this process; stop the other one and try again"
        raise IdentityStoreError(msg)

    async def _pinned(self, daemon_id: str) -> bytes | None:
        pinned = await self._store_call(self.store.get(daemon_id), "read")
        return None if pinned is None else check_pin(daemon_id, pinned)

    async def _agree(self, verdict: Verdict, daemon_id: str, pinned: bytes | None, received: bytes) -> None:
        fingerprint = compute_fingerprint(received)
        expected = None if pinned is None else compute_fingerprint(pinned)
        agreed = verdict in (Verdict.PIN, Verdict.REPIN)
        reason = f"policy {self.policy} refuses it"
        if verdict is Verdict.ASK_FIRST and self._on_first_connection is not None:
            agreed, reason = await _ask(self._on_first_connection(fingerprint)), "it was not confirmed"
        elif verdict is Verdict.ASK_MISMATCH and self._on_identity_mismatch is not None and expected is not None:
            agreed, reason = await _ask(self._on_identity_mismatch(expected, fingerprint)), "it was not confirmed"
        elif verdict is Verdict.FOLLOW_ROTATION and self._follow_rotation is not None and pinned is not None:
            found = self._follow_rotation(daemon_id, pinned, received)
            agreed = await self._store_call(found, "look up rotations for") is True
            reason = "no rotation signed by the pinned key leads to it"
        if not agreed:
            raise IdentityRefusedError(
                _refusal(daemon_id, expected, fingerprint, reason), expected=expected, received=fingerprint
            )

    def _report(self, verdict: Verdict, daemon_id: str, pinned: bytes | None, received: bytes) -> None:
        if pinned is None:
            logger.info("pinned the identity key of daemon %s: %s", daemon_id, compute_fingerprint(received))
            return
        expected, fingerprint = compute_fingerprint(pinned), compute_fingerprint(received)
        level = logging.WARNING if verdict is Verdict.REPIN else logging.INFO
        message = "the identity key of daemon %s was replaced (%s): %s is now pinned instead of %s"
        logger.log(level, message, daemon_id, verdict.value, fingerprint, expected)
        if self._on_identity_changed is not None:
            self._on_identity_changed(expected, fingerprint)

    async def _store_call(self, call: Awaitable[_Answer], what: str) -> _Answer:
        deadline = asyncio.timeout(self.store_timeout)
        try:
            async with deadline:
                return await call
        except SidebandError:
            raise
        except TimeoutError as error:
            how = f"within {self.store_timeout:g} s" if deadline.expired() else f"({error})"
            msg = f"the pin store did not {what} the pin {how}; nothing was sent"
            raise IdentityStoreError(msg) from error
        except Exception as error:
            msg = f"the pin store failed to {what} the pin: {type(error).__name__}: {error}"
            raise IdentityStoreError(msg) from error


async def _ask(answer: bool | Awaitable[Any]) -> bool:
    # Only a plain True is a yes: a callback that forgets to return must not open the door.
    return (await answer if inspect.isawaitable(answer) else answer) is True


def _refusal(daemon_id: str, expected: str | None, received: str, reason: str) -> str:
    if expected is None:
        return (
            f"no key is pinned for daemon {daemon_id}, which showed {received}; {reason}. "
            "Compare that fingerprint with the daemon's own, then pin it"
        )
    return (
        f"daemon {daemon_id} showed {received}, pinned is {expected}; {reason}. Someone may be impersonating it: "
        "ask its owner whether the key was replaced, and only then remove the old pin"
    )
