"""The sending side of an inbox, and what its owner does with it by hand."""

from __future__ import annotations

import asyncio
import base64
import io
import json
import logging
import random
import ssl
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

import aiohttp
from yarl import URL

from sideband._native import IdentityKeyPair
from sideband.errors import BridgeError, InboxError, StoreError
from sideband.inbox.address import normalise_address
from sideband.inbox.client.bridge import RECONNECT
from sideband.inbox.client.bridges import MAX_PAGE_BYTES
from sideband.inbox.client.messages import IncomingMessage, parse_message
from sideband.inbox.client.outgoing import MemoryOutgoingQueue, OutgoingMessage, OutgoingQueue
from sideband.inbox.client.requests import InboxOrigin, network_error, read_body, refusal
from sideband.inbox.envelopes import SignedEnvelopeKey
from sideband.inbox.signing import KEY_BYTES, SIGNATURE_BYTES, decode_base64
from sideband.peer.clock import Clock, LoopClock
from sideband.peer.policies import RetryPolicy

__all__ = ["FetchedPage", "InboxClient", "PublishedKeys", "PutReceipt"]

REQUEST_SECONDS = 30.0
"""How long one request may take."""
PARALLEL_RECIPIENTS = 8
"""To so many addresses messages are put at the same time; to one address one after the other."""

_MAX_ANSWER_BYTES = 64 * 1024
_LOG = logging.getLogger("sideband.inbox")


@dataclass(frozen=True, slots=True)
class PutReceipt:
    """The inbox's answer to a message that was put.

    Attributes:
        msg_id: SHA-256 of the envelope, 64 lowercase hex digits.
        received_at: the message's place in the address's order.
        expires_at: when the inbox forgets it, in Unix ms.
        duplicate: whether the inbox had it already.
    """

    msg_id: str
    received_at: int
    expires_at: int
    duplicate: bool


@dataclass(frozen=True, slots=True)
class FetchedPage:
    """Messages above a cursor, the cursor to go on from, and whether more are there now."""

    messages: list[IncomingMessage]
    cursor: int
    has_more: bool


@dataclass(frozen=True, slots=True)
class PublishedKeys:
    """What the server says of an address: nothing of it is verified.

    Attributes:
        address: in its one form.
        signing_key: the owner's Ed25519 key, 32 bytes; compare it with what you know, such as a pinned one.
        envelope_key: what to seal to, once `verify` has found it signed by the key you know; None when none is
            published.
    """

    address: str
    signing_key: bytes
    envelope_key: SignedEnvelopeKey | None


class InboxClient:
    """Registers addresses, puts messages into those of others, and fetches and deletes one's own by request.

    `put` queues a message and a task sends what waits: in order for each recipient, to several recipients at once, and
    after a failure that may pass again, with growing pauses. A message leaves the queue when the inbox has it, or has
    refused it for good; with a `SqliteOutgoingQueue` it survives a restart, and a message that was sent twice is
    delivered once.

        async with InboxClient("https://relay.example", identity) as inbox:
            sent = await inbox.put("bob", envelope)
            receipt = await sent                      # when it matters that it has arrived

    Args:
        url: the server's address, http or https.
        identity: signs every request; the owner's key of the addresses it registers.
        queue: what waits to be sent; in memory unless given.
        on_refused: called with each queued message that was refused for good, and why; they are logged unless given.
        ssl_context: for a server with a certificate of one's own.
        retry: the pauses after a failure.
        clock: where pauses come from.
        wall_clock: the time of day in seconds since 1970.
    """

    def __init__(
        self,
        url: str,
        identity: IdentityKeyPair,
        *,
        queue: OutgoingQueue | None = None,
        on_refused: Callable[[OutgoingMessage, BridgeError], None] | None = None,
        ssl_context: ssl.SSLContext | None = None,
        retry: RetryPolicy = RECONNECT,
        clock: Clock | None = None,
        wall_clock: Callable[[], float] = time.time,
    ) -> None:
        self._origin = InboxOrigin(url, "sender", identity, ssl_context=ssl_context, wall_clock=wall_clock)
        self._queue = queue or MemoryOutgoingQueue()
        self._on_refused = on_refused
        self._retry = retry
        self._clock = clock or LoopClock()
        self._session: aiohttp.ClientSession | None = None
        self._sending: dict[str, asyncio.Task[None]] = {}
        self._added: set[str] = set()
        self._room = asyncio.Semaphore(PARALLEL_RECIPIENTS)
        self._receipts: dict[int, asyncio.Future[PutReceipt]] = {}

    async def __aenter__(self) -> Self:
        """Open the client and begin to send what waits from before.

        Raises:
            StoreError: the queue cannot be read.
        """
        self._session = self._origin.session()
        try:
            for address in await self._queue.addresses():
                self._send_to(address)
        except BaseException:
            await self.close()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the client."""
        await self.close()

    async def close(self) -> None:
        """Stop sending; what waits stays in the queue. Idempotent."""
        tasks = list(self._sending.values())
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)
        for receipt in self._receipts.values():
            receipt.cancel()
        self._receipts.clear()
        if self._session is not None:
            await self._session.close()
            self._session = None

    async def put(self, address: str, envelope: bytes, *, ttl_seconds: int | None = None) -> asyncio.Future[PutReceipt]:
        """Queue a message for `address`; it is safe in the queue once this returns.

        Args:
            address: the recipient's; normalised as the inbox does.
            envelope: ciphertext, up to the inbox's limit, 1 MiB by default. The inbox sees these bytes as they are:
                `seal_envelope` makes them so that it learns nothing.
            ttl_seconds: how long the inbox keeps it, 60 s to 30 days; its default is 7 days.

        Returns:
            A future of the inbox's answer. Awaiting it is optional. It raises `BridgeError` when the message was
            refused for good, and is cancelled by `close`.

        Raises:
            BridgeError: the queue is full (kind `queue_full`), or the client is not open (`invalid_state`).
            StoreError: the queue cannot be written.
            InboxError: `address` is none.
        """
        self._opened()
        address = normalise_address(address)
        number = await self._queue.add(address, envelope, ttl_seconds)
        receipt: asyncio.Future[PutReceipt] = asyncio.get_running_loop().create_future()
        receipt.add_done_callback(_retrieve)
        self._receipts[number] = receipt
        self._send_to(address)
        return receipt

    async def flush(self) -> None:
        """Return once everything queued so far was put or refused."""
        while self._sending:
            await asyncio.wait(list(self._sending.values()))

    async def register(self, address: str, *, envelope_key: SignedEnvelopeKey | None = None) -> bool:
        """Make this client's identity the owner of `address`; return whether it was not before.

        Args:
            address: first use wins; 1 to 256 of letters, digits, `: _ - .` after NFKC.
            envelope_key: published for those who seal to this address; None leaves what was published.

        Raises:
            BridgeError: the address belongs to another key (401), or the request failed.
            InboxError: `address` is none.
        """
        fields: dict[str, Any] = {
            "address": normalise_address(address),
            "signingKey": base64.b64encode(self._origin.identity.public_key).decode(),
        }
        if envelope_key is not None:
            fields["envelopeKey"] = base64.b64encode(envelope_key.public_key).decode()
            fields["envelopeKeySignature"] = base64.b64encode(envelope_key.signature).decode()
        status, _ = await self._ask("POST", self._route("register"), self._origin.signed(fields))
        return status == 201

    async def lookup(self, address: str) -> PublishedKeys:
        """Return what the server says of the keys of `address`.

        Raises:
            BridgeError: nobody owns the address (404), or the request failed.
            InboxError: `address` is none.
        """
        address = normalise_address(address)
        _, answer = await self._ask("GET", self._route(address, "key"), None)
        if answer.get("address") != address:
            raise BridgeError("protocol", "the inbox's answer is about another address")
        try:
            signing_key = decode_base64(answer.get("signingKey"), "signingKey", size=KEY_BYTES)
            key = None
            if "envelopeKey" in answer:
                key = SignedEnvelopeKey(
                    decode_base64(answer["envelopeKey"], "envelopeKey", size=KEY_BYTES),
                    decode_base64(answer.get("envelopeKeySignature"), "envelopeKeySignature", size=SIGNATURE_BYTES),
                )
        except InboxError as error:
            raise BridgeError("protocol", f"the inbox's answer has wrong keys: {error}") from None
        return PublishedKeys(address, signing_key, key)

    async def fetch(self, address: str, since: int = 0, limit: int | None = None) -> FetchedPage:
        """Return messages of an own address above the cursor `since`, oldest first. Fetching deletes nothing.

        Raises:
            BridgeError: refused, `since` is above every message (kind `conflict`), or the request failed.
            InboxError: `address` is none.
        """
        address = normalise_address(address)
        fields: dict[str, Any] = {"address": address, "since": since}
        if limit is not None:
            fields["limit"] = limit
        body = self._without_path_fields(self._origin.signed(fields), "address")
        _, answer = await self._ask("POST", self._route(address, "fetch"), body, limit=MAX_PAGE_BYTES)
        blobs, cursor, more = answer.get("blobs"), answer.get("cursor"), answer.get("hasMore")
        if not isinstance(blobs, list) or not isinstance(cursor, int) or not isinstance(more, bool):
            raise BridgeError("protocol", "the inbox's answer to fetch has no blobs, cursor or hasMore")
        return FetchedPage([parse_message(blob) for blob in blobs], cursor, more)

    async def delete(self, address: str, msg_id: str) -> bool:
        """Delete a message of an own address; return whether it was there.

        Raises:
            BridgeError: refused, or the request failed.
            InboxError: `address` is none.
        """
        address = normalise_address(address)
        fields = self._origin.signed({"address": address, "msgId": msg_id})
        body = self._without_path_fields(fields, "address", "msgId")
        _, answer = await self._ask("DELETE", self._route(address, msg_id), body)
        return answer.get("deleted") is True

    def _send_to(self, address: str) -> None:
        self._added.add(address)
        if address not in self._sending and self._session is not None:
            task = asyncio.create_task(self._send_all_to(address), name="inbox put")
            self._sending[address] = task

    async def _send_all_to(self, address: str) -> None:
        failures = 0
        message: OutgoingMessage | None = None
        try:
            while True:
                self._added.discard(address)
                message = await self._queue.next_of(address)
                if message is None:
                    if address in self._added:
                        continue  # added while the queue was read
                    return
                try:
                    async with self._room:
                        receipt = await self._put(message)
                except BridgeError as error:
                    if error.kind != "refused" and error.code != "SHADE_VALIDATION":
                        _LOG.info("a message for an inbox has to wait: %s", error)
                        delay = self._retry.delay(failures, random.random())  # noqa: S311  (jitter, no secret)
                        failures += 1
                        await self._clock.sleep(max(delay, error.retry_after or 0.0))
                        continue
                    await self._queue.remove(message.number)
                    self._refused(message, error)
                else:
                    failures = 0
                    await self._queue.remove(message.number)
                    self._received(message, receipt)
        except StoreError as error:
            _LOG.error("sending stops until the next put: %s", error)
        except Exception as error:  # noqa: BLE001  (told to whoever waits)
            # The message stays in the queue for the next start, but whoever waits for it must not wait for ever.
            _LOG.exception("sending stops until the next put")
            waiting = None if message is None else self._receipts.pop(message.number, None)
            if waiting is not None and not waiting.done():
                waiting.set_exception(error)
        finally:
            del self._sending[address]

    async def _put(self, message: OutgoingMessage) -> PutReceipt:
        fields: dict[str, Any] = {
            "address": message.address,
            "ciphertext": base64.b64encode(message.envelope).decode(),
            "msgId": message.msg_id,
            "senderSigningKey": base64.b64encode(self._origin.identity.public_key).decode(),
        }
        if message.ttl_seconds is not None:
            fields["ttlSeconds"] = message.ttl_seconds
        body = self._without_path_fields(self._origin.signed(fields), "address")
        _, answer = await self._ask("PUT", self._route(message.address), body)
        try:
            return PutReceipt(
                str(answer["msgId"]), int(answer["receivedAt"]), int(answer["expiresAt"]), answer["duplicate"] is True
            )
        except (KeyError, TypeError, ValueError):
            raise BridgeError("protocol", "the inbox's answer to a put has no msgId, receivedAt or expiresAt") from None

    def _received(self, message: OutgoingMessage, receipt: PutReceipt) -> None:
        waiting = self._receipts.pop(message.number, None)
        if waiting is not None and not waiting.done():
            waiting.set_result(receipt)

    def _refused(self, message: OutgoingMessage, error: BridgeError) -> None:
        waiting = self._receipts.pop(message.number, None)
        if waiting is not None and not waiting.done():
            waiting.set_exception(error)
        if self._on_refused is None:
            _LOG.warning("a message was refused and dropped: %s", error)
            return
        try:
            self._on_refused(message, error)
        except Exception:  # noqa: BLE001  (the application's; sending goes on)
            _LOG.exception("on_refused raised")

    async def _ask(
        self, method: str, url: URL, fields: Mapping[str, Any] | None, *, limit: int = _MAX_ANSWER_BYTES
    ) -> tuple[int, dict[str, Any]]:
        session = self._opened()
        # As a file: aiohttp warns of bytes beyond 1 MiB, and a message of 1 MiB is more in base64.
        body = None if fields is None else io.BytesIO(json.dumps(fields).encode())
        headers = {} if fields is None else {"Content-Type": "application/json"}
        try:
            async with (
                asyncio.timeout(REQUEST_SECONDS),
                session.request(method, url, data=body, headers=headers, **self._origin.options(url)) as response,
            ):
                if response.status not in (200, 201):
                    raise await refusal(response)
                answer = json.loads(await read_body(response, limit))
        except json.JSONDecodeError:
            raise BridgeError("protocol", "200 came back, but no JSON; is this the inbox's address?") from None
        except (aiohttp.ClientError, OSError, ValueError) as error:
            raise network_error(error, url) from None
        if not isinstance(answer, dict):
            raise BridgeError("protocol", "the inbox's answer is no JSON object")
        return response.status, answer

    def _route(self, *parts: str) -> URL:
        url = self._origin.base / "v1" / "inbox"
        for part in parts:
            url /= part
        return url

    def _opened(self) -> aiohttp.ClientSession:
        if self._session is None:
            raise BridgeError("invalid_state", "the client is not open; use it with `async with`")
        return self._session

    @staticmethod
    def _without_path_fields(fields: Mapping[str, Any], *names: str) -> dict[str, Any]:
        return {name: value for name, value in fields.items() if name not in names}


def _retrieve(receipt: asyncio.Future[PutReceipt]) -> None:
    # Awaiting a receipt is optional: an exception that nobody takes is told by on_refused or the log.
    if not receipt.cancelled():
        receipt.exception()
