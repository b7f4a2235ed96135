"""The six procedures: exact shapes, errors and statuses (docs/protocol/relay.md, "Control plane API")."""

import base64
import re
import secrets
from typing import Any

import pytest
from joserfc import jwt
from joserfc.jwk import KeySet

from sideband._native import IdentityKeyPair
from sideband.control.plane import ControlPlane
from sideband.control.signing import EdDSARegistry
from sideband.control.store.audit import list_audit
from sideband.control.store.live import set_online
from sideband.identity.rotation import make_statement
from sideband.secure_relay import compute_fingerprint

RELAY_URL = "wss://sideband.example/relay"


def claims_of(plane: ControlPlane, token: str, typ: str = "sbrp-relay+jwt") -> dict[str, Any]:
    decoded = jwt.decode(token, KeySet.import_key_set(plane.keys.jwks()), registry=EdDSARegistry())
    assert decoded.header["alg"] == "EdDSA"
    assert decoded.header["typ"] == typ
    assert decoded.header["kid"] in {key["kid"] for key in plane.keys.jwks()["keys"]}
    return decoded.claims


async def bring_online(plane: ControlPlane, daemon_id: str) -> None:
    async with plane.database.write() as connection:
        await set_online(connection, "r_test", daemon_id, plane.now(), plane.now() + 30_000)


async def test_register_sets_the_identity_and_gives_a_token(api: Any, plane: ControlPlane, home: Any) -> None:
    data = await api.ok("daemon.register", {"identityPublicKey": home.identity_text, "name": "attic"}, home.api_key)
    assert set(data) == {"daemonId", "presenceToken", "relayUrl"}
    assert data["daemonId"] == home.daemon
    assert data["relayUrl"] == RELAY_URL
    claims = claims_of(plane, data["presenceToken"])
    assert claims["role"] == "daemon"
    assert claims["did"] == claims["sub"] == home.daemon
    assert claims["exp"] - claims["iat"] == 3600
    assert claims["scp"] == []
    assert claims["aud"] == "sideband-relay"
    assert claims["iss"] == "https://sideband.example"
    assert claims["ver"] == 1
    assert claims["akd"] == home.key_id
    [listed] = await api.ok("daemon.listAccessible", None, home.token)
    assert listed == {
        "id": home.daemon,
        "name": "attic",
        "identityPublicKey": home.identity_text,
        "fingerprint": compute_fingerprint(home.identity),
        "online": False,
        "rotations": [],
    }


async def test_register_confirms_the_same_key(api: Any, home: Any) -> None:
    for _ in range(2):
        await api.ok("daemon.register", {"identityPublicKey": home.identity_text}, home.api_key)
    [listed] = await api.ok("daemon.listAccessible", None, home.token)
    assert listed["name"] == "home-daemon"


async def test_register_refuses_another_key(api: Any, home: Any) -> None:
    await api.ok("daemon.register", {"identityPublicKey": home.identity_text}, home.api_key)
    other = base64.b64encode(secrets.token_bytes(32)).decode()
    assert await api.refused("daemon.register", {"identityPublicKey": other}, home.api_key) == (409, "CONFLICT")
    [listed] = await api.ok("daemon.listAccessible", None, home.token)
    assert listed["identityPublicKey"] == home.identity_text


async def test_of_two_first_keys_at_once_one_is_set(api: Any, home: Any, gather_all: Any) -> None:
    keys = [base64.b64encode(secrets.token_bytes(32)).decode() for _ in range(8)]
    answers = await gather_all(*(api.call("daemon.register", {"identityPublicKey": key}, home.api_key) for key in keys))
    assert sorted(status for status, _ in answers) == [200] + [409] * 7
    winner = next(key for key, (status, _) in zip(keys, answers, strict=True) if status == 200)
    [listed] = await api.ok("daemon.listAccessible", None, home.token)
    assert listed["identityPublicKey"] == winner


async def test_a_rotation_signed_by_the_old_key_is_kept_and_shown(api: Any, plane: ControlPlane, home: Any) -> None:
    pairs = [IdentityKeyPair.generate() for _ in range(3)]
    texts = [base64.b64encode(pair.public_key).decode() for pair in pairs]
    await api.ok("daemon.register", {"identityPublicKey": texts[0]}, home.api_key)
    statements = []
    for old, new, text in zip(pairs, pairs[1:], texts[1:], strict=False):
        statement = base64.b64encode(make_statement(home.daemon, old, new.public_key, 5)).decode()
        statements.append(statement)
        for _ in range(2):
            await api.ok("daemon.register", {"identityPublicKey": text, "rotate": statement}, home.api_key)
    [listed] = await api.ok("daemon.listAccessible", None, home.token)
    assert listed["identityPublicKey"] == texts[2]
    assert listed["rotations"] == statements
    async with plane.database.read() as connection:
        actions = [record.action for record in await list_audit(connection, target=home.daemon)]
    assert actions[:5] == ["daemon.confirm", "daemon.rotate", "daemon.confirm", "daemon.rotate", "daemon.register"]


async def test_rotations_that_are_refused(api: Any, home: Any) -> None:
    old, new, stranger = (IdentityKeyPair.generate() for _ in range(3))
    await api.ok("daemon.register", {"identityPublicKey": base64.b64encode(old.public_key).decode()}, home.api_key)
    good = make_statement(home.daemon, old, new.public_key, 5)
    flipped = bytearray(good)
    flipped[-1] ^= 1
    bad = {
        "by another key": make_statement(home.daemon, stranger, new.public_key, 5),
        "for another daemon": make_statement("d_other", old, new.public_key, 5),
        "to another key": make_statement(home.daemon, old, stranger.public_key, 5),
        "false signature": bytes(flipped),
        "short": good[:-1],
        "empty": b"",
    }
    for why, statement in bad.items():
        asked = {
            "identityPublicKey": base64.b64encode(new.public_key).decode(),
            "rotate": base64.b64encode(statement).decode(),
        }
        assert await api.refused("daemon.register", asked, home.api_key) == (409, "CONFLICT"), why
    asked = {"identityPublicKey": base64.b64encode(new.public_key).decode(), "rotate": "not base64!"}
    assert await api.refused("daemon.register", asked, home.api_key) == (409, "CONFLICT")


@pytest.mark.parametrize(
    "value",
    [
        None,
        {},
        [],
        "text",
        7,
        {"identityPublicKey": 7},
        {"identityPublicKey": ""},
        {"identityPublicKey": "AAAA"},
        {"identityPublicKey": base64.b64encode(bytes(31)).decode()},
        {"identityPublicKey": base64.b64encode(bytes(33)).decode()},
        {"identityPublicKey": base64.b64encode(bytes(32)).decode(), "name": ""},
        {"identityPublicKey": base64.b64encode(bytes(32)).decode(), "name": "x" * 129},
        {"identityPublicKey": base64.b64encode(bytes(32)).decode(), "name": "a\x00b"},
        {"identityPublicKey": base64.b64encode(bytes(32)).decode(), "name": "a\x9bb"},
        {"identityPublicKey": base64.b64encode(bytes(32)).decode(), "name": "a\u202eb"},
        {"identityPublicKey": base64.b64encode(bytes(32)).decode(), "rotate": {}},
    ],
    ids=str,
)
async def test_register_with_bad_input(api: Any, home: Any, value: Any) -> None:
    assert await api.refused("daemon.register", value, home.api_key) == (400, "BAD_REQUEST")


@pytest.mark.parametrize(
    ("value", "scopes"), [(None, []), ({}, []), ({"resume": False}, []), ({"resume": True}, ["session:resume"])]
)
async def test_renew_gives_resume_only_when_asked(
    api: Any, plane: ControlPlane, home: Any, value: Any, scopes: list[str]
) -> None:
    data = await api.ok("daemon.renewToken", value, home.api_key)
    assert set(data) == {"presenceToken", "relayUrl"}
    assert claims_of(plane, data["presenceToken"])["scp"] == scopes


async def test_tokens_have_their_own_ids(api: Any, plane: ControlPlane, home: Any) -> None:
    tokens = [(await api.ok("daemon.renewToken", None, home.api_key))["presenceToken"] for _ in range(20)]
    assert len({claims_of(plane, token)["jti"] for token in tokens}) == 20


async def test_create_session_gives_a_token_and_an_identity(api: Any, plane: ControlPlane, home: Any) -> None:
    data = await api.ok("relay.createSession", {"daemonId": home.daemon}, home.token)
    assert set(data) == {"relayUrl", "token", "identity"}
    claims = claims_of(plane, data["token"])
    assert claims["role"] == "client"
    assert claims["sub"] == home.user
    assert claims["did"] == home.daemon
    assert claims["exp"] - claims["iat"] == 120
    assert claims["scp"] == ["session:create"]
    assert re.fullmatch(r"[A-Za-z0-9_-]{11}", claims["sid"])
    assert any(base64.urlsafe_b64decode(claims["sid"] + "="))
    identity = claims_of(plane, data["identity"], "sideband-identity+jwt")
    assert identity["aud"] == home.daemon
    assert identity["sub"] == home.user
    assert identity["exp"] - identity["iat"] == 300
    assert identity["sid"] == claims["sid"]
    assert identity["name"] == "home-user"


async def test_create_session_does_not_ask_who_is_online(api: Any, plane: ControlPlane, home: Any) -> None:
    await api.ok("relay.createSession", {"daemonId": home.daemon}, home.token)
    await bring_online(plane, home.daemon)
    await api.ok("relay.createSession", {"daemonId": home.daemon}, home.token)


async def test_a_user_reaches_only_daemons_of_their_accounts(api: Any, home: Any, make_home: Any) -> None:
    other = await make_home("other")
    await api.ok("daemon.register", {"identityPublicKey": home.identity_text}, home.api_key)
    await api.ok("daemon.register", {"identityPublicKey": other.identity_text}, other.api_key)
    assert await api.refused("relay.createSession", {"daemonId": other.daemon}, home.token) == (403, "FORBIDDEN")
    assert [item["id"] for item in await api.ok("daemon.listAccessible", None, home.token)] == [home.daemon]


@pytest.mark.parametrize("daemon_id", ["d_" + "A" * 22, "", "x" * 5000, "a\x00b", "\ud800", "abcd-efgh-jkmn"])
async def test_an_unknown_daemon_is_404(api: Any, home: Any, daemon_id: str) -> None:
    assert await api.refused("relay.createSession", {"daemonId": daemon_id}, home.token) == (404, "NOT_FOUND")


@pytest.mark.parametrize("value", [None, {}, {"daemonId": 7}, {"daemonId": None}, "d_x", []], ids=str)
async def test_create_session_with_bad_input(api: Any, home: Any, value: Any) -> None:
    assert await api.refused("relay.createSession", value, home.token) == (400, "BAD_REQUEST")


async def test_access_is_given_and_taken(api: Any, home: Any, make_home: Any, admin: Any) -> None:
    other = await make_home("other")
    asked = {"daemonId": home.daemon}
    assert await api.refused("relay.createSession", asked, other.token) == (403, "FORBIDDEN")
    await admin().set_member("home", other.user, True)
    await api.ok("relay.createSession", asked, other.token)
    await admin().set_member("home", other.user, False)
    assert await api.refused("relay.createSession", asked, other.token) == (403, "FORBIDDEN")


async def test_a_daemon_without_identity_is_not_listed(api: Any, home: Any) -> None:
    assert await api.ok("daemon.listAccessible", None, home.token) == []


async def test_online_is_what_relays_report(api: Any, plane: ControlPlane, home: Any, clock: Any) -> None:
    await api.ok("daemon.register", {"identityPublicKey": home.identity_text}, home.api_key)
    await bring_online(plane, home.daemon)
    assert [item["online"] for item in await api.ok("daemon.listAccessible", None, home.token)] == [True]
    clock.advance(30)
    assert [item["online"] for item in await api.ok("daemon.listAccessible", None, home.token)] == [False]
    plane.online_here = lambda daemon_id: daemon_id == home.daemon
    assert [item["online"] for item in await api.ok("daemon.listAccessible", None, home.token)] == [True]


DAEMON_PROCEDURES = ["daemon.register", "daemon.renewToken", "quickConnect.create"]
USER_PROCEDURES = ["daemon.listAccessible", "relay.createSession"]
INPUTS = {
    "daemon.register": {"identityPublicKey": base64.b64encode(bytes(32)).decode()},
    "relay.createSession": {"daemonId": "d_x"},
}


@pytest.mark.parametrize("procedure", DAEMON_PROCEDURES + USER_PROCEDURES)
async def test_a_credential_is_needed(api: Any, home: Any, procedure: str) -> None:
    wrong_kind = home.token if procedure in DAEMON_PROCEDURES else home.api_key
    unknown = "sbnd_dak_" + "A" * 43 if procedure in DAEMON_PROCEDURES else "sbnd_usr_" + "A" * 43
    for credential in (None, wrong_kind, unknown, "x", "a" * 8001, "\u00e9"):
        answer = await api.refused(procedure, INPUTS.get(procedure), credential)
        assert answer == (401, "UNAUTHORIZED"), credential


@pytest.mark.parametrize(
    "header", ["", "Basic abc", "Bearer", "Bearer ", "sbnd_dak_" + "A" * 43, "Bearer  "], ids=lambda h: h or "empty"
)
async def test_a_malformed_authorization_header_is_401(api: Any, header: str) -> None:
    headers = {"X-Test-Address": "192.0.2.1", "Authorization": header}
    async with api.client.post("/api/trpc/daemon.renewToken", json={"json": None}, headers=headers) as response:
        assert response.status == 401
        assert response.headers["WWW-Authenticate"] == "Bearer"


async def test_two_authorization_headers_are_401(api: Any, home: Any) -> None:
    headers = [("Authorization", f"Bearer {home.api_key}")] * 2 + [("X-Test-Address", "192.0.2.1")]
    async with api.client.post("/api/trpc/daemon.renewToken", json={"json": None}, headers=headers) as response:
        assert response.status == 401


async def test_a_revoked_api_key_is_401_and_others_go_on(api: Any, home: Any, admin: Any) -> None:
    second = await admin().create_key(home.daemon)
    await admin().revoke_key(home.key_id)
    assert await api.refused("daemon.renewToken", None, home.api_key) == (401, "UNAUTHORIZED")
    await api.ok("daemon.renewToken", None, second["apiKey"])


async def test_a_revoked_or_expired_user_token_is_401(api: Any, home: Any, admin: Any, clock: Any) -> None:
    revoked = await admin().create_user_token(home.user)
    await admin().revoke_user_token(revoked["id"])
    assert await api.refused("daemon.listAccessible", None, revoked["token"]) == (401, "UNAUTHORIZED")
    short = await admin().create_user_token(home.user, ttl_seconds=60)
    await api.ok("daemon.listAccessible", None, short["token"])
    clock.advance(60)
    assert await api.refused("daemon.listAccessible", None, short["token"]) == (401, "UNAUTHORIZED")


@pytest.mark.parametrize("what", ["daemon", "account"])
async def test_a_disabled_daemon_is_403_until_it_is_enabled(api: Any, home: Any, admin: Any, what: str) -> None:
    async def set_disabled(disabled: bool) -> None:
        if what == "daemon":
            await admin().set_daemon_disabled(home.daemon, disabled)
        else:
            await admin().set_account_disabled(home.account, disabled)

    await api.ok("daemon.register", {"identityPublicKey": home.identity_text}, home.api_key)
    await set_disabled(True)
    assert await api.refused("daemon.renewToken", None, home.api_key) == (403, "FORBIDDEN")
    assert await api.refused("relay.createSession", {"daemonId": home.daemon}, home.token) == (403, "FORBIDDEN")
    assert await api.ok("daemon.listAccessible", None, home.token) == []
    await set_disabled(False)
    await api.ok("daemon.renewToken", None, home.api_key)
    await api.ok("relay.createSession", {"daemonId": home.daemon}, home.token)


async def test_a_disabled_user_is_403(api: Any, home: Any, admin: Any) -> None:
    await admin().set_user_disabled(home.user, True)
    assert await api.refused("daemon.listAccessible", None, home.token) == (403, "FORBIDDEN")
    assert await api.refused("relay.createSession", {"daemonId": home.daemon}, home.token) == (403, "FORBIDDEN")


async def test_an_unknown_procedure_is_404(api: Any) -> None:
    assert await api.refused("daemon.format") == (404, "NOT_FOUND")


@pytest.mark.parametrize(
    "body",
    [b"{", b"[]", b"7", b'"x"', b"null", b"\xff\xfe", b'{"json": NaN', b"[" * 100_000],
    ids=lambda b: repr(b[:8]),
)
async def test_a_body_that_is_not_the_shape_is_400(api: Any, home: Any, body: bytes) -> None:
    headers = {"X-Test-Address": "192.0.2.1", "Authorization": f"Bearer {home.api_key}"}
    async with api.client.post("/api/trpc/daemon.renewToken", data=body, headers=headers) as response:
        assert response.status == 400
        assert (await response.json())["error"]["data"] == {"code": "BAD_REQUEST", "httpStatus": 400}


@pytest.mark.parametrize(("size", "status"), [(65_536, 200), (65_537, 400)])
async def test_a_body_has_its_limit(api: Any, home: Any, size: int, status: int) -> None:
    body = b'{"json":null}'
    headers = {"X-Test-Address": "192.0.2.1", "Authorization": f"Bearer {home.api_key}"}
    padded = body + b" " * (size - len(body))
    async with api.client.post("/api/trpc/daemon.renewToken", data=padded, headers=headers) as response:
        assert response.status == status


async def test_an_empty_body_is_no_input(api: Any, home: Any) -> None:
    headers = {"X-Test-Address": "192.0.2.1", "Authorization": f"Bearer {home.api_key}"}
    async with api.client.post("/api/trpc/daemon.renewToken", headers=headers) as response:
        assert response.status == 200


async def test_superjson_s_meta_is_passed_over(api: Any, home: Any) -> None:
    headers = {"X-Test-Address": "192.0.2.1", "Authorization": f"Bearer {home.api_key}"}
    body = {"json": None, "meta": {"values": ["undefined"]}}
    async with api.client.post("/api/trpc/daemon.renewToken", json=body, headers=headers) as response:
        assert response.status == 200


async def test_error_texts_repeat_nothing_of_the_input(api: Any, home: Any) -> None:
    marker = "sbnd_dak_" + "z" * 43
    for value, credential in (
        ({"identityPublicKey": marker}, home.api_key),
        ({"identityPublicKey": home.identity_text, "name": marker * 4}, home.api_key),
        (marker, home.api_key),
        (None, marker),
    ):
        status, body = await api.call("daemon.register", value, credential)
        assert status in (400, 401)
        assert marker not in str(body)


async def test_who_did_what_is_kept_without_secrets(api: Any, plane: ControlPlane, home: Any) -> None:
    await api.ok("daemon.register", {"identityPublicKey": home.identity_text}, home.api_key)
    await api.ok("daemon.renewToken", {"resume": True}, home.api_key)
    session = await api.ok("relay.createSession", {"daemonId": home.daemon}, home.token)
    code = await api.ok("quickConnect.create", None, home.api_key)
    async with plane.database.read() as connection:
        records = await list_audit(connection, target=home.daemon, limit=4)
    assert [(record.actor, record.action, record.address, record.at) for record in records] == [
        (f"key:{home.key_id}", "quickConnect.create", "192.0.2.1", plane.now()),
        (f"user:{home.user}", "relay.createSession", "192.0.2.1", plane.now()),
        (f"key:{home.key_id}", "daemon.renewToken", "192.0.2.1", plane.now()),
        (f"key:{home.key_id}", "daemon.register", "192.0.2.1", plane.now()),
    ]
    for secret in (home.api_key, home.token, session["token"], code["code"]):
        assert secret not in str(records)
