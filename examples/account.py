"""How the examples reach a daemon, or are one: the control plane and the credentials that the environment names.

SIDEBAND_API_URL        the control plane; http://127.0.0.1:8080 unless set
SIDEBAND_API_KEY        for a daemon: its API key, or
SIDEBAND_API_KEY_FILE   a file that holds it
SIDEBAND_TOKEN          for a client: a user's token, with
SIDEBAND_DAEMON         the daemon to reach; or
SIDEBAND_CODE           a Quick Connect code, which opens one session
SIDEBAND_HOME           the folder of the identity key and of the pins; the platform's own unless set
"""

import base64
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import aiohttp
import platformdirs

import sideband
from sideband.peer import IDENTITY_METADATA_KEY

API_URL = os.environ.get("SIDEBAND_API_URL", "http://127.0.0.1:8080").rstrip("/")
HOME = Path(os.environ.get("SIDEBAND_HOME") or platformdirs.user_config_path("sideband"))


async def listen(on_connection: Callable[[sideband.Peer], Any]) -> sideband.RelayServer:
    """Be the daemon that the API key belongs to. Returns once the relay connection stands.

    `peer.identity` tells who each client is by the control plane's word; clients without such a word are refused.
    """
    identity = sideband.FileIdentity(HOME / "identity.json")
    public_key = base64.b64encode(identity.public_key).decode()
    registered = await ask("daemon.register", api_key(), {"identityPublicKey": public_key})

    async def connection_params() -> sideband.ConnectionParams:
        renewed = await ask("daemon.renewToken", api_key(), {"resume": True})
        return _params(renewed["relayUrl"], renewed["presenceToken"])

    daemon_id = registered["daemonId"]
    return await sideband.listen(
        None,
        on_connection,
        negotiator=sideband.relay_daemon_negotiator(daemon_id, identity, get_connection_params=connection_params),
        verify_identity=sideband.IdentityTokenVerifier(API_URL, daemon_id),
        authorize=lambda who: who is not None,
    )


async def quick_connect_code(seconds: int = 300) -> str:
    """Return a new code, with which somebody without an account opens one session with this daemon."""
    made = await ask("quickConnect.create", api_key(), {"ttlSeconds": seconds})
    return str(made["code"])


async def connect(daemon_id: str | None = None, retry: sideband.RetryPolicy | None = None) -> sideband.Peer:
    """Return a peer for the daemon that the environment names, or `daemon_id`; `async with` connects it.

    With a user's token it comes back by itself unless `retry` says otherwise. A code is good for one session only.
    """
    code = os.environ.get("SIDEBAND_CODE")
    if code:
        redeemed = await ask("quickConnect.redeem", None, {"code": code})
        daemon_id = str(redeemed["daemonId"])
    else:
        daemon_id = daemon_id or _required("SIDEBAND_DAEMON", "the daemon's id, d_...")

    async def connection_params() -> sideband.ConnectionParams:
        session = redeemed if code else await ask("relay.createSession", user_token(), {"daemonId": daemon_id})
        return _params(session["relayUrl"], session["token"], {IDENTITY_METADATA_KEY: session["identity"]})

    trust = sideband.IdentityTrust(sideband.FileIdentityKeyStore(HOME / "pins"), "accept-new")
    return sideband.create_peer(
        negotiator=sideband.relay_client_negotiator(daemon_id, trust=trust, get_connection_params=connection_params),
        connection=sideband.ConnectionPolicy(on_disconnect="pause"),
        retry=retry or sideband.RetryPolicy(mode="never" if code else "on-error"),
    )


async def daemons() -> list[str]:
    """Return the ids of the daemons that are online and open to the user's token."""
    listed = await ask("daemon.listAccessible", user_token(), None)
    return [daemon["id"] for daemon in listed if daemon["online"]]


async def ask(procedure: str, credential: str | None, value: dict[str, Any] | None) -> Any:
    """Call a procedure of the control plane (docs/protocol/relay.md, "Control plane API")."""
    headers = {"Authorization": f"Bearer {credential}"} if credential else {}
    timeout = aiohttp.ClientTimeout(total=15)
    async with (
        aiohttp.ClientSession(API_URL, headers=headers, timeout=timeout, trust_env=True) as session,
        session.post(f"/api/trpc/{procedure}", json={"json": value}) as response,
    ):
        body = await response.json()
        if response.status != 200:
            raise sideband.CloudApiError(response.status, body["error"]["message"])
        return body["result"]["data"]


def api_key() -> str:
    """Return the daemon's API key."""
    file = os.environ.get("SIDEBAND_API_KEY_FILE")
    return Path(file).read_text().strip() if file else _required("SIDEBAND_API_KEY", "the daemon's API key")


def user_token() -> str:
    """Return the user's token."""
    return _required("SIDEBAND_TOKEN", "a user's token, or SIDEBAND_CODE to a Quick Connect code")


def _params(url: str, token: str, metadata: dict[str, Any] | None = None) -> sideband.ConnectionParams:
    return sideband.ConnectionParams(
        endpoint=url, headers={"Authorization": f"Bearer {token}"}, metadata=metadata or {}
    )


def _required(variable: str, what: str) -> str:
    value = os.environ.get(variable)
    if not value:
        raise SystemExit(f"set {variable} to {what}; examples/README.md shows where it comes from")
    return value
