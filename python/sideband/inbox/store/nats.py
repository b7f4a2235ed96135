"""Inboxes in NATS JetStream, for a cluster of servers (docs/protocol/inbox.md, "Stores").

One stream holds every blob; a subject is the hash of an address and a msgId, and holds one message at most. So "put
once" is a publish that expects the subject to be as it was seen, and a cursor is the stream's sequence number. A
deleted blob is replaced by an empty message that says so until it may be forgotten. Owners and quotas are documents in
two key-value buckets, changed by compare-and-set. Times of expiry are in headers; this side filters and purges by them.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import secrets
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from hashlib import sha256
from typing import TYPE_CHECKING, Any, Self

from sideband.errors import ConfigError, InboxError, StoreError
from sideband.inbox.signing import decode_base64, encode_base64
from sideband.inbox.store.base import Blob, EnvelopeKeyRecord, NewBlob, Owner, Page, Quotas, Receipt, sender_hint
from sideband.inbox.store.notices import Notices
from sideband.inbox.store.refusals import address_taken, quota_exceeded, too_many_addresses, unknown_address

if TYPE_CHECKING:
    from nats.aio.client import Client
    from nats.aio.msg import Msg
    from nats.js import JetStreamContext
    from nats.js.api import RawStreamMsg
    from nats.js.kv import KeyValue

__all__ = ["NatsInboxStore"]

STREAM = "SIDEBAND_INBOX"
SUBJECTS = "sideband.inbox.blob"
EVENTS = "sideband.inbox.stored"
OWNERS = "SIDEBAND_INBOX_OWNERS"
QUOTAS = "SIDEBAND_INBOX_QUOTAS"

MAX_ATTEMPTS = 64
"""How often a change is tried again because another process was faster."""

_EXPECTED = "Nats-Expected-Last-Subject-Sequence"
_EXPIRES = "Sideband-Expires"
_SENDER = "Sideband-Sender"
_GONE_UNTIL = "Sideband-Gone-Until"
_FIRST_CURSOR = "Sideband-First-Cursor"
_WRONG_SEQUENCE = 10071


@dataclass(frozen=True, slots=True)
class _Found:
    """The message of a subject: a blob, or what is left of a deleted one until `gone_until`."""

    sequence: int
    cursor: int
    expires_at: int
    gone_until: int | None

    @property
    def ends_at(self) -> int:
        return self.expires_at if self.gone_until is None else self.gone_until


Entries = dict[str, tuple[int, int, str]]
"""By msgId: size, when it ends, the sender's hint. Size 0 is a deleted blob, kept for the purge to find."""


class NatsInboxStore:
    """Inboxes in JetStream. See `InboxStore`. The server's `max_payload` has to be 2 MB."""

    def __init__(self, client: Client, wait_seconds: float) -> None:
        self.notices = Notices()
        self._client = client
        self._stream: JetStreamContext = client.jetstream(timeout=wait_seconds)
        self._process = secrets.token_hex(8)
        self._locks: dict[str, tuple[asyncio.Lock, int]] = {}
        self._owners: KeyValue
        self._quotas: KeyValue

    @classmethod
    async def open(cls, url: str, *, wait_seconds: float = 5.0, replicas: int = 1) -> Self:
        """Connect, and make the stream and the buckets if they are not there.

        Args:
            url: `nats://host:4222`, `tls://` with TLS; several separated by commas.
            wait_seconds: how long one answer may take.
            replicas: copies of what is stored, when it is made; 3 in a cluster.

        Raises:
            ConfigError: the package nats-py is not installed, or the server takes no messages of 2 MB.
            StoreError: the server cannot be reached or has no JetStream.
        """
        try:
            import nats
        except ModuleNotFoundError as error:
            raise ConfigError("NATS needs the package nats-py: pip install 'sideband[nats]'") from error
        store: Self | None = None

        async def lost() -> None:
            if store is not None:
                store.notices.pushing = False

        async def back() -> None:
            if store is not None:
                store.notices.pushing = True
                store.notices.wake_all()

        async def ignore(_error: Exception) -> None:
            """The calls that meet an error raise it themselves."""

        async with _mapped_errors(), asyncio.timeout(wait_seconds * 2):
            client = await nats.connect(
                servers=url.split(","),
                name="sideband inbox",
                connect_timeout=max(1, int(wait_seconds)),
                reconnect_time_wait=0.25,
                max_reconnect_attempts=-1,
                disconnected_cb=lost,
                reconnected_cb=back,
                error_cb=ignore,
            )
        store = cls(client, wait_seconds)
        try:
            await store._prepare(replicas)
        except BaseException:
            await store.close()
            raise
        return store

    async def register(
        self, address: str, signing_key: bytes, *, envelope_key: EnvelopeKeyRecord | None, signed_at: int, limit: int
    ) -> bool:
        """See `InboxStore.register`."""
        document: dict[str, Any] = {"address": address, "key": encode_base64(signing_key), "keyAt": signed_at}
        document |= _key_fields(envelope_key)
        async with _mapped_errors():
            for _ in range(MAX_ATTEMPTS):
                known, revision = await self._document(self._owners, _token(address))
                if known is None:
                    if (await self._owners.status()).values >= limit:
                        raise too_many_addresses()
                    if await self._replace(self._owners, _token(address), document, 0):
                        return True
                    continue
                if known["key"] != document["key"]:
                    raise address_taken()
                if envelope_key is None or signed_at <= known["keyAt"]:
                    return False
                changed = known | _key_fields(envelope_key) | {"keyAt": signed_at}
                if await self._replace(self._owners, _token(address), changed, revision):
                    return False
        raise _contended()

    async def owner(self, address: str) -> Owner | None:
        """See `InboxStore.owner`."""
        async with _mapped_errors():
            known, _ = await self._document(self._owners, _token(address))
            if known is None:
                return None
            highest = (await self._stream.stream_info(STREAM)).state.last_seq
        key = None
        if known.get("envelopeKey"):
            key = EnvelopeKeyRecord(
                decode_base64(known["envelopeKey"], "key"), decode_base64(known["envelopeKeySignature"], "signature")
            )
        watchers = frozenset(known.get("watchers", ()))
        return Owner(address, decode_base64(known["key"], "key"), highest, key, watchers)

    async def set_watchers(self, address: str, watchers: frozenset[str], *, signed_at: int) -> None:
        """See `InboxStore.set_watchers`."""
        async with _mapped_errors():
            for _ in range(MAX_ATTEMPTS):
                known, revision = await self._document(self._owners, _token(address))
                if known is None or known.get("watchersAt", 0) >= signed_at:
                    return
                changed = known | {"watchers": sorted(watchers), "watchersAt": signed_at}
                if await self._replace(self._owners, _token(address), changed, revision):
                    return
        raise _contended()

    async def put(self, blob: NewBlob, quotas: Quotas, now: int) -> Receipt:
        """See `InboxStore.put`."""
        token = _token(blob.address)
        subject = f"{SUBJECTS}.{token}.{blob.msg_id}"
        headers = {_EXPIRES: str(blob.expires_at), _SENDER: sender_hint(blob.sender)}
        async with _mapped_errors(), self._one_at_a_time(token):
            if (await self._document(self._owners, token))[0] is None:
                raise unknown_address()
            for _ in range(MAX_ATTEMPTS):
                found = await self._last(subject)
                if found is not None and found.ends_at > now:
                    return Receipt(found.cursor, found.expires_at, duplicate=True)
                # Room is taken first: what is not stored after all counts until it would have expired, never the
                # other way round.
                if not await self._reserve(token, blob, quotas, now):
                    continue
                sequence = await self._publish(subject, blob.ciphertext, headers, found)
                if sequence is not None:
                    break
            else:
                raise _contended()
            await self._client.publish(f"{EVENTS}.{token}", f"{self._process} {blob.address}".encode())
        self.notices.stored(blob.address)
        return Receipt(sequence, blob.expires_at, duplicate=False)

    async def read(self, address: str, since: int, *, limit: int, max_bytes: int, now: int) -> Page:
        """See `InboxStore.read`."""
        subject = f"{SUBJECTS}.{_token(address)}.*"
        blobs: list[Blob] = []
        size = 0
        async with _mapped_errors():
            while True:
                message = await self._next(subject, since + 1)
                if message is None or message.seq is None:
                    return Page(blobs, more=False)
                since = message.seq
                found = _found(message)
                if found.gone_until is not None or found.expires_at <= now:
                    continue
                if len(blobs) >= limit or size >= max_bytes:
                    return Page(blobs, more=True)
                ciphertext = message.data or b""
                size += len(ciphertext)
                msg_id = (message.subject or "").rpartition(".")[2]
                hint = (message.headers or {}).get(_SENDER, "")
                blobs.append(Blob(since, msg_id, ciphertext, hint, found.expires_at))

    async def delete(self, address: str, msg_id: str, *, now: int, forget_at: int) -> bool:
        """See `InboxStore.delete`."""
        token = _token(address)
        subject = f"{SUBJECTS}.{token}.{msg_id}"
        async with _mapped_errors(), self._one_at_a_time(token):
            for _ in range(MAX_ATTEMPTS):
                found = await self._last(subject)
                if found is None or found.gone_until is not None or found.expires_at <= now:
                    return False
                headers = {
                    _EXPIRES: str(found.expires_at),
                    _GONE_UNTIL: str(forget_at),
                    _FIRST_CURSOR: str(found.cursor),
                }
                if await self._publish(subject, b"", headers, found) is not None:
                    await self._change_entries(token, {msg_id: (0, forget_at, "")})
                    return True
        raise _contended()

    async def purge(self, now: int) -> int:
        """See `InboxStore.purge`."""
        from nats.js.errors import NoKeysError

        purged = 0
        async with _mapped_errors():
            try:
                tokens = await self._quotas.keys()
            except NoKeysError:
                return 0
            for token in tokens:
                entries, _ = await self._entries(token)
                due = {msg_id: None for msg_id, (_, ends_at, _) in entries.items() if ends_at <= now}
                for msg_id in due:
                    found = await self._last(f"{SUBJECTS}.{token}.{msg_id}")
                    if found is not None and found.ends_at <= now:
                        await self._stream.delete_msg(STREAM, found.sequence)
                        purged += found.gone_until is None
                if due:
                    await self._change_entries(token, due)
        return purged

    async def check(self) -> None:
        """See `InboxStore.check`."""
        async with _mapped_errors():
            await self._stream.stream_info(STREAM)

    async def close(self) -> None:
        """See `InboxStore.close`."""
        with contextlib.suppress(StoreError):
            async with _mapped_errors():
                await self._client.close()

    async def _prepare(self, replicas: int) -> None:
        from nats.js import api

        needed = 2_000_000
        if self._client.max_payload < needed:
            raise ConfigError(
                f"the NATS server takes messages of {self._client.max_payload} bytes; set max_payload: 2MB"
            )
        async with _mapped_errors():
            await self._stream.add_stream(
                api.StreamConfig(
                    name=STREAM,
                    subjects=[f"{SUBJECTS}.*.*"],
                    max_msgs_per_subject=1,
                    storage=api.StorageType.FILE,
                    num_replicas=replicas,
                )
            )
            self._owners, self._quotas = [
                await self._stream.create_key_value(
                    api.KeyValueConfig(bucket=bucket, history=1, replicas=replicas, direct=False)
                )
                for bucket in (OWNERS, QUOTAS)
            ]
            await self._client.subscribe(f"{EVENTS}.*", cb=self._heard)

    async def _heard(self, message: Msg) -> None:
        process, _, address = message.data.decode().partition(" ")
        if process != self._process:
            self.notices.stored(address)

    @contextlib.asynccontextmanager
    async def _one_at_a_time(self, token: str) -> AsyncIterator[None]:
        # Compare-and-set decides between processes; within one, waiting is cheaper than trying again.
        lock, users = self._locks.get(token, (asyncio.Lock(), 0))
        self._locks[token] = lock, users + 1
        try:
            async with lock:
                yield
        finally:
            lock, users = self._locks[token]
            if users == 1:
                del self._locks[token]
            else:
                self._locks[token] = lock, users - 1

    async def _reserve(self, token: str, blob: NewBlob, quotas: Quotas, now: int) -> bool:
        entries, revision = await self._entries(token)
        entries.pop(blob.msg_id, None)
        live = [(size, sender) for size, ends_at, sender in entries.values() if size and ends_at > now]
        hint = sender_hint(blob.sender)
        if len(live) >= quotas.blobs:
            raise quota_exceeded("messages")
        if sum(size for size, _ in live) + len(blob.ciphertext) > quotas.bytes:
            raise quota_exceeded("bytes")
        if sum(sender == hint for _, sender in live) >= quotas.blobs_per_sender:
            raise quota_exceeded("messages of this sender")
        entries[blob.msg_id] = (len(blob.ciphertext), blob.expires_at, hint)
        return await self._replace(self._quotas, token, entries, revision)

    async def _change_entries(self, token: str, changes: Mapping[str, tuple[int, int, str] | None]) -> None:
        for _ in range(MAX_ATTEMPTS):
            entries, revision = await self._entries(token)
            for msg_id, entry in changes.items():
                if entry is None:
                    entries.pop(msg_id, None)
                else:
                    entries[msg_id] = entry
            if await self._replace(self._quotas, token, entries, revision):
                return
        raise _contended()

    async def _entries(self, token: str) -> tuple[Entries, int]:
        document, revision = await self._document(self._quotas, token)
        return {msg_id: (size, ends, hint) for msg_id, (size, ends, hint) in (document or {}).items()}, revision

    async def _document(self, bucket: KeyValue, key: str) -> tuple[dict[str, Any] | None, int]:
        from nats.js.errors import KeyNotFoundError

        try:
            entry = await bucket.get(key)
        except KeyNotFoundError:
            return None, 0
        document: dict[str, Any] = json.loads(entry.value or b"{}")
        return document, entry.revision or 0

    async def _replace(self, bucket: KeyValue, key: str, document: Mapping[str, Any], revision: int) -> bool:
        from nats.js.errors import KeyWrongLastSequenceError

        try:
            await bucket.update(key, json.dumps(document, separators=(",", ":")).encode(), last=revision)
        except KeyWrongLastSequenceError:
            return False
        return True

    async def _publish(self, subject: str, data: bytes, headers: Mapping[str, str], found: _Found | None) -> int | None:
        from nats.js.errors import APIError

        expected = str(found.sequence if found else 0)
        try:
            ack = await self._stream.publish(subject, data, stream=STREAM, headers={**headers, _EXPECTED: expected})
        except APIError as error:
            if error.err_code == _WRONG_SEQUENCE:
                return None
            raise
        return ack.seq

    async def _last(self, subject: str) -> _Found | None:
        from nats.js.errors import NotFoundError

        try:
            return _found(await self._stream.get_last_msg(STREAM, subject))
        except NotFoundError:
            return None

    async def _next(self, subject: str, sequence: int) -> RawStreamMsg | None:
        from nats.js.errors import NotFoundError

        try:
            return await self._stream.get_msg(STREAM, seq=sequence, subject=subject, next=True)
        except NotFoundError:
            return None


def _token(address: str) -> str:
    # An address may be no valid subject, and subjects show in the server's statistics.
    return sha256(address.encode()).hexdigest()


def _found(message: RawStreamMsg) -> _Found:
    headers = message.headers or {}
    sequence = message.seq or 0
    gone = headers.get(_GONE_UNTIL)
    return _Found(
        sequence,
        int(headers.get(_FIRST_CURSOR, sequence)),
        int(headers.get(_EXPIRES, 0)),
        None if gone is None else int(gone),
    )


def _key_fields(key: EnvelopeKeyRecord | None) -> dict[str, str]:
    if key is None:
        return {}
    return {"envelopeKey": encode_base64(key.public_key), "envelopeKeySignature": encode_base64(key.signature)}


def _contended() -> StoreError:
    return StoreError("the store is too busy with this address; try again later")


@contextlib.asynccontextmanager
async def _mapped_errors() -> AsyncIterator[None]:
    from nats.errors import Error

    try:
        yield
    except (InboxError, StoreError):
        raise
    except (Error, OSError, TimeoutError) as error:
        raise StoreError(f"the NATS server did not do it ({type(error).__name__}); is it running?") from error
