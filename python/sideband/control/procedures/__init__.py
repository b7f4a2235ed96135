"""The six procedures of the HTTP API, each a function of the call and its input."""

from __future__ import annotations

from sideband.control.procedures.call import Call, Procedure
from sideband.control.procedures.daemon import list_accessible, register, renew_token
from sideband.control.procedures.quick_connect import create_code, redeem_code
from sideband.control.procedures.session import create_session

__all__ = ["PROCEDURES", "Call", "Procedure"]

PROCEDURES: dict[str, Procedure] = {
    "daemon.register": register,
    "daemon.renewToken": renew_token,
    "daemon.listAccessible": list_accessible,
    "relay.createSession": create_session,
    "quickConnect.create": create_code,
    "quickConnect.redeem": redeem_code,
}
