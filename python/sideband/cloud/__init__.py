"""Two lines to an encrypted session: peers and daemons by way of a control plane (docs/guide/cloud.md).

    async with sideband.cloud.connect(quick_connect_code="abcd-efgh-jkmn") as peer:
        print(await peer.rpc.call("greet", "Ada"))

    async with await sideband.cloud.listen(api_key=..., identity_key_pair=..., on_connection=...) as server:
        print((await server.create_quick_connect()).code)

No company's address is compiled in: the control plane is the argument `api_url`, else `SIDEBAND_API_URL`, else
http://127.0.0.1:8080, where `sideband serve` listens.
"""

from sideband.cloud.api import ControlPlane
from sideband.cloud.api_types import AccessibleDaemon, Presence, QuickConnectCode, Registration, RelaySession
from sideband.cloud.client import connect
from sideband.cloud.daemon import CloudServer, listen
from sideband.cloud.defaults import DEFAULT_API_URL, default_api_url, default_home
from sideband.cloud.failures import classify_failure
from sideband.cloud.retrying import retrying

__all__ = [
    "DEFAULT_API_URL",
    "AccessibleDaemon",
    "CloudServer",
    "ControlPlane",
    "Presence",
    "QuickConnectCode",
    "Registration",
    "RelaySession",
    "classify_failure",
    "connect",
    "default_api_url",
    "default_home",
    "listen",
    "retrying",
]
