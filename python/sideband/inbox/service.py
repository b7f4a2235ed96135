"""An inbox server without HTTP: who may do what, how often, and what is counted (docs/protocol/inbox.md)."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any

from sideband.errors import EnvelopeError, InboxError, StoreError
from sideband.inbox.config import InboxConfig, RateLimit
from sideband.inbox.envelopes import SignedEnvelopeKey
from sideband.inbox.fields import BridgeKind, Signed, bridge_fields, signed_fields
from sideband.inbox.presence import Presence
from sideband.inbox.rates import Rates
from sideband.inbox.signing import KEY_BYTES, SIGNATURE_BYTES, check_signature, check_signed_at, decode_base64
from sideband.inbox.store import EnvelopeKeyRecord, InboxStore, NewBlob, Owner, Page, Receipt, message_id
from sideband.inbox.store.refusals import unknown_address

__all__ = ["Inbox"]

_log = logging.getLogger("sideband.inbox")


class Inbox:
    """An inbox server: its store, its limits, its counts.

    Args:
        store: an opened store; the caller closes it.
        config: every limit.
        clock: Unix time in seconds.
        monotonic: time for rates, in seconds.

    Attributes:
        answers: HTTP answers by route and status.
        puts: by outcome: `stored` or `duplicate`.
        delivered: blobs by kind of bridge, and `fetch`.
        bridges: open connections by kind.
        purged: blobs that had expired and were taken away.
    """

    def __init__(
        self,
        store: InboxStore,
        config: InboxConfig | None = None,
        *,
        clock: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self.store = store
        self.config = config or InboxConfig()
        self.presence = Presence()
        self.answers: Counter[tuple[str, int]] = Counter()
        self.puts: Counter[str] = Counter()
        self.delivered: Counter[str] = Counter()
        self.bridges: Counter[str] = Counter()
        self.purged = 0
        self._clock = clock
        self._monotonic = monotonic
        self._puts = self._rates(self.config.put_rate)
        self._fetches = self._rates(self.config.fetch_rate)
        self._deletes = self._rates(self.config.delete_rate)
        self._registers = self._rates(self.config.register_rate)
        self._connects = self._rates(self.config.connect_rate)
        self._polls = self._rates(self.config.poll_rate)
        self._clients = self._rates(self.config.client_rate)

    def now_ms(self) -> int:
        """Return Unix time in ms."""
        return round(self._clock() * 1000)

    def admit_client(self, client: str) -> None:
        """Count a request of a client address, before anything is done for it.

        Raises:
            InboxError: `SHADE_RATE_LIMIT`.
        """
        if self.config.limits_by_client:
            self._clients.take(client, self._monotonic())

    async def register(self, body: Mapping[str, Any], client: str) -> bool:
        """Register an address; tell whether it was not before."""
        signed = signed_fields(body, {}, frozenset({"signingKey"}), frozenset({"envelopeKey", "envelopeKeySignature"}))
        signing_key = signed.key("signingKey")
        envelope_key = _envelope_key(signed, signing_key)
        self._verify(signed, signing_key)
        if self.config.limits_by_client:
            self._registers.take(client, self._monotonic())
        created = await self.store.register(
            signed.address,
            signing_key,
            envelope_key=envelope_key,
            signed_at=signed.signed_at,
            limit=self.config.max_addresses,
        )
        _log.info("inbox.registered", extra={"first": created})
        return created

    async def put(self, address: str, body: Mapping[str, Any]) -> tuple[str, Receipt]:
        """Keep a blob; return its msgId and the store's answer."""
        config = self.config
        signed = signed_fields(
            body,
            {"address": address},
            frozenset({"ciphertext", "senderSigningKey"}),
            frozenset({"ttlSeconds", "msgId"}),
        )
        sender = signed.key("senderSigningKey")
        ttl = signed.number("ttlSeconds", least=config.ttl_min_seconds, most=config.ttl_max_seconds)
        ciphertext = self._ciphertext(signed)
        self._verify(signed, sender)
        msg_id = message_id(ciphertext)
        if signed.message_id() not in (None, msg_id):
            raise InboxError("SHADE_VALIDATION", "msgId is not the SHA-256 of the ciphertext")
        self._puts.take(sender, self._monotonic())
        now = self.now_ms()
        expires_at = now + (ttl or config.ttl_default_seconds) * 1000
        receipt = await self.store.put(
            NewBlob(signed.address, msg_id, ciphertext, sender, expires_at), config.quotas, now
        )
        self.puts["duplicate" if receipt.duplicate else "stored"] += 1
        if not receipt.duplicate:
            _log.debug("inbox.blob_stored", extra={"size": len(ciphertext)})
        return msg_id, receipt

    async def fetch(self, address: str, body: Mapping[str, Any]) -> Page:
        """Return the first blobs above `since`."""
        signed = signed_fields(body, {"address": address}, frozenset({"since"}), frozenset({"limit"}))
        since = signed.number("since") or 0
        limit = signed.number("limit", least=1, most=self.config.fetch_limit)
        await self._verify_owner(signed, since)
        self._fetches.take(signed.address, self._monotonic())
        page = await self.store.read(
            signed.address,
            since,
            limit=limit or self.config.fetch_limit,
            max_bytes=self.config.page_bytes,
            now=self.now_ms(),
        )
        self.delivered["fetch"] += len(page.blobs)
        return page

    async def delete(self, address: str, msg_id: str, body: Mapping[str, Any]) -> bool:
        """Take a blob away; tell whether it was there."""
        signed = signed_fields(body, {"address": address, "msgId": msg_id}, frozenset({"msgId"}))
        checked = signed.message_id() or ""
        await self._verify_owner(signed)
        self._deletes.take(signed.address, self._monotonic())
        now = self.now_ms()
        return await self.store.delete(
            signed.address, checked, now=now, forget_at=now + self.config.remember_seconds * 1000
        )

    async def set_watchers(self, address: str, body: Mapping[str, Any]) -> tuple[str, ...]:
        """Set who may see whether an address is connected; return the list."""
        signed = signed_fields(body, {"address": address}, frozenset({"watchers"}))
        watchers = signed.addresses("watchers", self.config.watchers)
        await self._verify_owner(signed)
        self._deletes.take(signed.address, self._monotonic())
        await self.store.set_watchers(signed.address, frozenset(watchers), signed_at=signed.signed_at)
        return watchers

    async def published(self, address: str) -> Owner:
        """Return the owner of an address, with the keys that those who write to it need."""
        owner = await self.store.owner(address)
        if owner is None:
            raise unknown_address()
        return owner

    async def admit_bridge(self, query: Mapping[str, list[str]], kind: BridgeKind) -> tuple[str, int]:
        """Return the address and the cursor that a bridge is asked for."""
        signed = bridge_fields(query, kind)
        since = signed.number("since") or 0
        await self._verify_owner(signed, since)
        rates = self._polls if kind == "poll" else self._connects
        rates.take(signed.address, self._monotonic())
        return signed.address, since

    async def admit_presence(self, body: Mapping[str, Any]) -> tuple[str, tuple[str, ...]]:
        """Return who asks, and the addresses whose presence is asked for."""
        signed = signed_fields(body, {}, frozenset({"kind", "addresses"}))
        if signed.fields["kind"] != "presence":
            raise InboxError("SHADE_UNAUTHORIZED", "this request is signed for another kind of bridge than presence")
        addresses = signed.addresses("addresses", self.config.presence_addresses)
        await self._verify_owner(signed)
        self._connects.take(signed.address, self._monotonic())
        return signed.address, addresses

    async def purge_regularly(self) -> None:
        """Take away what has expired, for ever; and let bridges look while the store cannot tell of new blobs."""
        config = self.config
        next_purge = self._monotonic()
        while True:
            if not self.store.notices.pushing:
                self.store.notices.wake_all()
            if self._monotonic() >= next_purge:
                next_purge = self._monotonic() + config.purge_seconds
                try:
                    self.purged += await self.store.purge(self.now_ms())
                except StoreError as error:
                    _log.warning("inbox.purge_failed", extra={"cause": str(error)})
            await asyncio.sleep(config.timer_seconds)

    def check_room(self, address: str) -> None:
        """Let one more connection of an address pass.

        Raises:
            InboxError: `SHADE_RATE_LIMIT`: this server, or this address, has as many open as it may.
        """
        config = self.config
        if self.bridges.total() >= config.max_bridges:
            raise InboxError("SHADE_RATE_LIMIT", "this server has as many connections as it may", retry_after=10.0)
        if self.presence.connections(address) >= config.max_bridges_per_address:
            raise InboxError("SHADE_RATE_LIMIT", "this address has as many connections as it may", retry_after=10.0)

    def _ciphertext(self, signed: Signed) -> bytes:
        text, limit = signed.fields["ciphertext"], self.config.blob_bytes
        ciphertext = decode_base64(text, "ciphertext") if not isinstance(text, str) or len(text) <= limit * 2 else None
        if ciphertext is None or len(ciphertext) > limit:
            raise InboxError("SHADE_PAYLOAD_TOO_LARGE", f"a ciphertext is at most {limit} bytes")
        if not ciphertext:
            raise InboxError("SHADE_VALIDATION", "a ciphertext is at least 1 byte")
        return ciphertext

    async def _verify_owner(self, signed: Signed, since: int = 0) -> None:
        check_signed_at(signed.signed_at, self.now_ms())
        owner = await self.store.owner(signed.address)
        if owner is None:
            raise unknown_address()
        self._verify(signed, owner.signing_key)
        if since > owner.highest:
            raise InboxError(
                "SHADE_CONFLICT",
                f"the cursor is above the highest of this address, {owner.highest}; start again at 0",
                cursor=owner.highest,
            )

    def _verify(self, signed: Signed, key: bytes) -> None:
        check_signed_at(signed.signed_at, self.now_ms())
        check_signature(key, signed.fields, signed.signature)

    def _rates(self, limit: RateLimit) -> Rates:
        return Rates(limit, self.config.max_rate_keys)


def _envelope_key(signed: Signed, signing_key: bytes) -> EnvelopeKeyRecord | None:
    given = {"envelopeKey", "envelopeKeySignature"} & signed.fields.keys()
    if not given:
        return None
    if len(given) == 1:
        raise InboxError("SHADE_VALIDATION", "envelopeKey and envelopeKeySignature go together")
    key = decode_base64(signed.fields["envelopeKey"], "envelopeKey", size=KEY_BYTES)
    signature = decode_base64(signed.fields["envelopeKeySignature"], "envelopeKeySignature", size=SIGNATURE_BYTES)
    try:
        SignedEnvelopeKey(key, signature).verify(signed.address, signing_key)
    except EnvelopeError as error:
        raise InboxError(
            "SHADE_UNAUTHORIZED", "envelopeKeySignature is not signingKey's over this key and address"
        ) from error
    return EnvelopeKeyRecord(key, signature)
