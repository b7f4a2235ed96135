"""The inbox's routes: what they answer, and all that they refuse."""

import asyncio
import base64
from collections.abc import AsyncIterator
from typing import Any

import pytest

from sideband._native import IdentityKeyPair
from sideband.errors import StoreError
from sideband.inbox.config import InboxConfig, RateLimit
from sideband.inbox.envelopes import EnvelopeKeyPair
from sideband.inbox.signing import sign_fields
from sideband.inbox.store import MemoryInboxStore, message_id, sender_hint

from .conftest import gather_all
from .served import ALICE, BOB, CAROL, Served, serving, text64

MIB = 2**20


@pytest.fixture
async def served() -> AsyncIterator[Served]:
    async with serving() as running:
        yield running


def code(answer: tuple[int, Any]) -> tuple[int, str]:
    status, body = answer
    assert set(body) <= {"error", "code", "cursor"}
    assert body["error"]
    return status, body["code"].removeprefix("SHADE_")


async def test_register(served: Served) -> None:
    assert await served.register() == (201, {"created": True})
    assert await served.register() == (200, {"created": False})
    assert code(await served.register(identity=CAROL)) == (401, "UNAUTHORIZED")
    assert (await served.put(b"x"))[0] == 201


async def test_register_needs_the_signature_of_its_key(served: Served) -> None:
    fields = {"address": "bob", "signingKey": text64(BOB.public_key)}
    assert code(await served.ask("POST", "/v1/inbox/register", served.signed(CAROL, fields))) == (401, "UNAUTHORIZED")
    assert code(await served.put(b"x")) == (404, "NOT_FOUND")


async def test_a_put_and_what_fetch_returns(served: Served) -> None:
    await served.register()
    status, receipt = await served.put(b"\xff hello", ttlSeconds=60)
    expires_at = served.clock.ms + 60_000
    expected = {"msgId": message_id(b"\xff hello"), "receivedAt": 1, "expiresAt": expires_at, "duplicate": False}
    assert (status, receipt) == (201, expected)
    assert await served.fetch() == (
        200,
        {
            "blobs": [
                {
                    "msgId": receipt["msgId"],
                    "ciphertext": text64(b"\xff hello"),
                    "receivedAt": 1,
                    "expiresAt": expires_at,
                    "from": sender_hint(ALICE.public_key),
                }
            ],
            "cursor": 1,
            "hasMore": False,
        },
    )
    assert (await served.fetch(1))[1] == {"blobs": [], "cursor": 1, "hasMore": False}


async def test_the_default_time_to_live_is_7_days(served: Served) -> None:
    await served.register()
    _, receipt = await served.put(b"x")
    assert receipt["expiresAt"] == served.clock.ms + 7 * 86_400_000


async def test_the_same_put_again_is_200(served: Served) -> None:
    await served.register()
    _, first = await served.put(b"x")
    served.clock.now += 5
    assert await served.put(b"x", identity=CAROL) == (200, {**first, "duplicate": True})


async def test_a_thousand_puts_at_once_of_one_blob(served: Served) -> None:
    await served.register()
    answers = await gather_all(*(served.put(b"same") for _ in range(1000)))
    assert sorted({status for status, _ in answers}) == [200, 201]
    assert sum(status == 201 for status, _ in answers) == 1
    assert len((await served.fetch())[1]["blobs"]) == 1


async def test_url_safe_and_unpadded_base64_are_taken_and_padded_standard_is_given(served: Served) -> None:
    await served.register()
    content = b"\xfb\xff\xfe\xff"
    fields = {
        "ciphertext": base64.urlsafe_b64encode(content).decode().rstrip("="),
        "senderSigningKey": base64.urlsafe_b64encode(ALICE.public_key).decode(),
    }
    body = served.signed(ALICE, fields, path={"address": "bob"})
    body["signature"] = body["signature"].replace("+", "-").replace("/", "_").rstrip("=")
    assert (await served.ask("PUT", "/v1/inbox/bob", body))[0] == 201
    assert (await served.fetch())[1]["blobs"][0]["ciphertext"] == "+//+/w=="


async def test_a_message_id_has_to_fit(served: Served) -> None:
    await served.register()
    assert (await served.put(b"x", msgId=message_id(b"x")))[0] == 201
    for msg_id in (message_id(b"y"), message_id(b"x").upper(), "", 7, None):
        assert code(await served.put(b"z", msgId=msg_id)) == (400, "VALIDATION")


async def test_delete(served: Served) -> None:
    await served.register()
    _, receipt = await served.put(b"x")
    assert await served.delete(receipt["msgId"]) == (200, {"deleted": True})
    assert await served.delete(receipt["msgId"]) == (200, {"deleted": False})
    assert await served.put(b"x") == (200, {**receipt, "duplicate": True})
    served.clock.now += 86_400
    assert (await served.put(b"x"))[1]["duplicate"] is False


@pytest.mark.parametrize("msg_id", ["x", "A" * 64, "0" * 63, "0" * 65])
async def test_a_delete_of_what_is_no_id(served: Served, msg_id: str) -> None:
    await served.register()
    assert code(await served.delete(msg_id)) == (400, "VALIDATION")


async def test_pages_of_fetch(served: Served) -> None:
    await served.register()
    for number in range(5):
        await served.put(b"%d" % number)
    _, first = await served.fetch(limit=2)
    _, second = await served.fetch(first["cursor"], limit=3)
    assert [(page["cursor"], page["hasMore"]) for page in (first, second)] == [(2, True), (5, False)]
    for limit in (0, 101, -1, "2", 1.0, True):
        assert code(await served.fetch(limit=limit)) == (400, "VALIDATION")
    assert len((await served.fetch(limit=100))[1]["blobs"]) == 5


async def test_only_the_owner_fetches_and_deletes(served: Served) -> None:
    await served.register()
    _, receipt = await served.put(b"x")
    assert code(await served.fetch(identity=CAROL)) == (401, "UNAUTHORIZED")
    assert code(await served.delete(receipt["msgId"], identity=CAROL)) == (401, "UNAUTHORIZED")
    assert code(await served.fetch(address="carol", identity=CAROL)) == (404, "NOT_FOUND")
    assert len((await served.fetch())[1]["blobs"]) == 1


async def test_a_cursor_from_the_future_is_a_conflict_that_tells_the_highest(served: Served) -> None:
    await served.register()
    await served.put(b"x")
    status, body = await served.fetch(2)
    assert code((status, body)) == (409, "CONFLICT")
    assert body["cursor"] == 1
    assert (await served.fetch(1))[0] == 200


@pytest.mark.parametrize("since", [-1, "0", 1.5, None, True, 2**53, [], "x"])
async def test_what_is_no_cursor(served: Served, since: Any) -> None:
    await served.register()
    assert code(await served.fetch(since)) == (400, "VALIDATION")


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [(-300, (200, None)), (60, (200, None)), (-300.001, (401, "REPLAY")), (60.001, (401, "REPLAY"))],
)
async def test_the_edges_of_the_window(served: Served, seconds: float, expected: tuple[int, str | None]) -> None:
    await served.register()
    status, body = await served.fetch(signedAt=served.clock.ms + round(seconds * 1000))
    assert (status, body.get("code", "").removeprefix("SHADE_") or None) == expected


@pytest.mark.parametrize(("ttl", "status"), [(59, 400), (60, 201), (2_592_000, 201), (2_592_001, 400), ("60", 400)])
async def test_the_edges_of_the_time_to_live(served: Served, ttl: Any, status: int) -> None:
    await served.register()
    assert (await served.put(b"x", ttlSeconds=ttl))[0] == status


async def test_expired_blobs_are_gone_at_once(served: Served) -> None:
    await served.register()
    await served.put(b"x", ttlSeconds=60)
    served.clock.now += 60
    assert (await served.fetch())[1]["blobs"] == []


@pytest.mark.parametrize("swapped", ["ciphertext", "senderSigningKey", "ttlSeconds", "signedAt", "address", "msgId"])
async def test_a_signed_field_that_was_changed(served: Served, swapped: str) -> None:
    await served.register()
    await served.register("carol", CAROL)
    fields = {"ciphertext": text64(b"x"), "senderSigningKey": text64(ALICE.public_key), "ttlSeconds": 100}
    body = served.signed(ALICE, fields, path={"address": "bob"})
    changed = {
        "ciphertext": text64(b"y"),
        "senderSigningKey": text64(CAROL.public_key),
        "ttlSeconds": 101,
        "signedAt": served.clock.ms + 1,
        "msgId": message_id(b"x"),
    }
    if swapped in changed:
        body[swapped] = changed[swapped]
    path = "/v1/inbox/carol" if swapped == "address" else "/v1/inbox/bob"
    assert code(await served.ask("PUT", path, body)) == (401, "UNAUTHORIZED")


async def test_a_field_in_body_and_path_has_to_be_equal(served: Served) -> None:
    await served.register()
    fields = {"address": "bob", "since": 0}
    assert (await served.ask("POST", "/v1/inbox/bob/fetch", served.signed(BOB, fields)))[0] == 200
    fields["address"] = "ｂｏｂ"
    assert code(await served.ask("POST", "/v1/inbox/bob/fetch", served.signed(BOB, fields))) == (400, "VALIDATION")


async def test_addresses_that_normalise_together_are_one(served: Served) -> None:
    assert (await served.register("ｂｏｂ"))[0] == 201
    assert code(await served.register("bob", CAROL)) == (401, "UNAUTHORIZED")
    assert (await served.put(b"x", "bob"))[0] == 201
    assert (await served.put(b"x", "𝐛𝐨𝐛"))[1]["duplicate"]
    assert len((await served.fetch(address="ⓑⓞⓑ"))[1]["blobs"]) == 1


@pytest.mark.parametrize("address", ["b ob", "", "a" * 257, "bоb", "b/b", None, 7])
async def test_what_is_no_address(served: Served, address: Any) -> None:
    fields = {"address": address, "signingKey": text64(BOB.public_key)}
    assert code(await served.ask("POST", "/v1/inbox/register", served.signed(BOB, fields))) == (400, "VALIDATION")


@pytest.mark.parametrize("ciphertext", ["not base64!", "A", "AA==A", 7, None, ["QQ=="], "", "AB==", "QQ==\n"], ids=repr)
async def test_a_ciphertext_that_is_no_base64(served: Served, ciphertext: Any) -> None:
    await served.register()
    fields = {"ciphertext": ciphertext, "senderSigningKey": text64(ALICE.public_key)}
    body = served.signed(ALICE, fields, path={"address": "bob"})
    assert code(await served.ask("PUT", "/v1/inbox/bob", body)) == (400, "VALIDATION")


@pytest.mark.parametrize("body", [b"", b"[]", b"null", b"{", b"\xff", b'{"a":' * 1300, b"7", b'"x"'], ids=range(8))
async def test_a_body_that_is_no_object(served: Served, body: bytes) -> None:
    for method, path in (("POST", "/v1/inbox/register"), ("PUT", "/v1/inbox/bob"), ("POST", "/v1/bridge/presence")):
        assert code(await served.ask(method, path, data=body)) == (400, "VALIDATION")


@pytest.mark.parametrize("name", ["signedAt", "signature", "since"])
@pytest.mark.parametrize("value", [None, "", "x", -1, 1.5, [], {}, True, "missing", "\ud800"], ids=repr)
async def test_a_field_of_another_kind(served: Served, name: str, value: Any) -> None:
    await served.register()
    body = served.signed(BOB, {"since": 0}, path={"address": "bob"})
    body[name] = value
    if value == "missing":
        del body[name]
    assert code(await served.ask("POST", "/v1/inbox/bob/fetch", body)) == (400, "VALIDATION")


async def test_a_field_that_is_not_known(served: Served) -> None:
    await served.register()
    assert code(await served.fetch(more=1)) == (400, "VALIDATION")


async def test_a_blob_of_the_limit_and_one_byte_more(served: Served) -> None:
    await served.register()
    assert (await served.put(bytes(MIB)))[0] == 201
    assert code(await served.put(bytes(MIB + 1))) == (413, "PAYLOAD_TOO_LARGE")


async def test_a_body_over_the_limit_is_refused_while_it_comes(served: Served) -> None:
    """In chunks, without a length, and without an end: only a refusal in the middle can answer."""
    await served.register()
    answered = asyncio.Event()

    async def endless() -> AsyncIterator[bytes]:
        while not answered.is_set():
            yield bytes(65_536)

    async with served.http.put(served.url / "v1/inbox/bob", data=endless()) as response:
        body = await response.json()
        answered.set()
    assert code((response.status, body)) == (413, "PAYLOAD_TOO_LARGE")


@pytest.mark.parametrize(
    ("path", "limit"), [("inbox/register", 65_536), ("inbox/bob/fetch", 65_536), ("bridge/presence", 8192)]
)
async def test_other_bodies_are_small(served: Served, path: str, limit: int) -> None:
    for size, expected in ((limit, "VALIDATION"), (limit + 1, "PAYLOAD_TOO_LARGE")):
        answer = await served.ask("POST", f"/v1/{path}", data=b" " * size)
        assert code(answer)[1] == expected


async def test_a_compressed_body_is_refused(served: Served) -> None:
    await served.register()
    body = served.signed(BOB, {"since": 0}, path={"address": "bob"})
    async with served.http.post(served.url / "v1/inbox/bob/fetch", json=body, compress="deflate") as response:
        assert code((response.status, await response.json())) == (400, "VALIDATION")


async def test_quotas_have_their_code() -> None:
    async with serving(blobs_per_address=1, max_addresses=1) as served:
        await served.register()
        assert code(await served.register("carol", CAROL)) == (429, "QUOTA_EXCEEDED")
        await served.put(b"x")
        assert code(await served.put(b"y")) == (429, "QUOTA_EXCEEDED")


async def test_rates_are_those_of_the_page() -> None:
    defaults = InboxConfig()
    for rate in (defaults.put_rate, defaults.fetch_rate, defaults.delete_rate):
        assert (rate.burst, rate.per_second) == (60, 1.0)
    assert (defaults.register_rate.burst, round(defaults.register_rate.per_second * 3600)) == (5, 5)


@pytest.mark.parametrize("what", ["put", "fetch", "delete"])
async def test_a_rate_has_a_burst_and_tells_when_to_come_again(what: str) -> None:
    async with serving(**{f"{what}_rate": RateLimit(burst=2, per_second=0.1)}) as served:
        await served.register()
        await served.register("carol", CAROL)

        async def attempt(first: bool = True) -> int:
            if what == "put":
                return (await served.put(b"x", identity=ALICE if first else CAROL))[0]
            address, identity = ("bob", BOB) if first else ("carol", CAROL)
            if what == "fetch":
                return int((await served.fetch(address=address, identity=identity))[0])
            return (await served.delete("0" * 64, address, identity))[0]

        assert [await attempt() for _ in range(3)][2] == 429
        assert served.last_headers["Retry-After"] == "10"
        assert await attempt(first=False) in (200, 201)
        served.clock.now += 9.9
        assert await attempt() == 429
        served.clock.now += 0.2
        assert await attempt() in (200, 201)


async def test_a_rate_is_taken_after_the_signature() -> None:
    """Nobody can use up another's rate."""
    async with serving(fetch_rate=RateLimit(burst=1, per_second=0.001)) as served:
        await served.register()
        for _ in range(5):
            assert (await served.fetch(identity=CAROL))[0] == 401
        assert (await served.fetch())[0] == 200
        assert code(await served.fetch()) == (429, "RATE_LIMIT")


async def test_registers_are_limited_by_client() -> None:
    async with serving(register_rate=RateLimit(burst=5, per_second=5 / 3600)) as served:
        for number in range(5):
            assert (await served.register(f"a{number}"))[0] == 201
        assert code(await served.register("a5")) == (429, "RATE_LIMIT")
        assert served.last_headers["Retry-After"] == "720"


async def test_requests_are_limited_by_client_before_anything_is_done() -> None:
    async with serving(client_rate=RateLimit(burst=3, per_second=1)) as served:
        for _ in range(3):
            assert code(await served.ask("POST", "/v1/inbox/register", data=b"x")) == (400, "VALIDATION")
        assert code(await served.ask("POST", "/v1/inbox/register", data=b"x")) == (429, "RATE_LIMIT")
    async with serving(client_rate=RateLimit(burst=1, per_second=1), limits_by_client=False) as served:
        for _ in range(3):
            assert (await served.ask("POST", "/v1/inbox/register", data=b"x"))[0] == 400


async def test_published_keys(served: Served) -> None:
    key = EnvelopeKeyPair.generate().publish(BOB, "bob")
    fields = {"envelopeKey": text64(key.public_key), "envelopeKeySignature": text64(key.signature)}
    assert (await served.register(**fields))[0] == 201
    expected = {"address": "bob", "signingKey": text64(BOB.public_key), **fields}
    assert await served.ask("GET", "/v1/inbox/bob/key") == (200, expected)
    await served.register("carol", CAROL)
    assert "envelopeKey" not in (await served.ask("GET", "/v1/inbox/carol/key"))[1]
    assert code(await served.ask("GET", "/v1/inbox/nobody/key")) == (404, "NOT_FOUND")
    assert code(await served.ask("GET", "/v1/inbox/no%20body/key")) == (400, "VALIDATION")


async def test_an_envelope_key_needs_its_owners_signature_for_its_address(served: Served) -> None:
    pair = EnvelopeKeyPair.generate()
    key = text64(pair.public_key)
    for wrong in (
        pair.publish(CAROL, "bob"),
        pair.publish(BOB, "carol"),
        EnvelopeKeyPair.generate().publish(BOB, "bob"),
    ):
        answer = await served.register(envelopeKey=key, envelopeKeySignature=text64(wrong.signature))
        assert code(answer) == (401, "UNAUTHORIZED")
    assert code(await served.register(envelopeKey=key)) == (400, "VALIDATION")
    assert code(await served.register(envelopeKeySignature=text64(bytes(64)))) == (400, "VALIDATION")
    assert code(await served.ask("GET", "/v1/inbox/bob/key")) == (404, "NOT_FOUND")


async def test_watchers_are_a_list_of_addresses_of_bounded_length() -> None:
    async with serving(watchers=2) as served:
        await served.register()

        async def attempt(watchers: Any, identity: IdentityKeyPair = BOB) -> tuple[int, Any]:
            body = served.signed(identity, {"watchers": watchers}, path={"address": "bob"})
            return await served.ask("PUT", "/v1/inbox/bob/watchers", body)

        assert await attempt(["alice", "ａｌｉｃｅ"]) == (200, {"watchers": ["alice"]})
        assert (await attempt(["a", "b"]))[0] == 200
        for wrong in (["a", "b", "c"], "a", [1], ["a b"], None):
            assert code(await attempt(wrong)) == (400, "VALIDATION")
        assert code(await attempt([], CAROL)) == (401, "UNAUTHORIZED")


async def test_a_store_that_fails_is_503_and_says_nothing_of_itself() -> None:
    class Failing(MemoryInboxStore):
        async def owner(self, address: str) -> Any:
            raise StoreError("the password is hunter2")

        async def register(self, *words: Any, **named: Any) -> bool:
            raise ZeroDivisionError("hunter2")

    async with serving(Failing()) as served:
        status, body = await served.fetch()
        assert code((status, body)) == (503, "STORAGE")
        assert served.last_headers["Retry-After"] == "2"
        assert "hunter2" not in str(body)
        status, body = await served.register()
        assert code((status, body)) == (500, "INTERNAL")
        assert "hunter2" not in str(body)


async def test_the_application_can_be_mounted_below_another() -> None:
    async with serving(prefix="/post/office") as served:
        fields = {"address": "bob", "signingKey": text64(BOB.public_key)}
        body = served.signed(BOB, fields)
        assert (await served.ask("POST", "/post/office/v1/inbox/register", body))[0] == 201
        async with served.http.get(served.url / "v1/inbox/register") as response:
            assert response.status == 404


async def test_what_is_counted(served: Served) -> None:
    await served.register()
    await served.put(b"x")
    await served.put(b"x")
    await served.fetch()
    await served.fetch(9)
    assert served.inbox.puts == {"stored": 1, "duplicate": 1}
    assert served.inbox.delivered == {"fetch": 1}
    assert served.inbox.answers == {
        ("register", 201): 1,
        ("put", 201): 1,
        ("put", 200): 1,
        ("fetch", 200): 1,
        ("fetch", 409): 1,
    }


async def test_a_request_that_is_never_finished_is_given_up() -> None:
    async with serving(body_seconds=0.05) as served:
        reader, writer = await asyncio.open_connection(served.url.host, served.url.port)
        writer.write(b"POST /v1/inbox/register HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{")
        assert (await reader.readline()).startswith(b"HTTP/1.1 400")
        writer.close()
        await writer.wait_closed()


def test_signatures_are_over_numbers_and_not_over_text() -> None:
    assert sign_fields(BOB, {"since": 0}) != sign_fields(BOB, {"since": "0"})
