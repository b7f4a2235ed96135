"""Direct sessions between peers, and moving a relayed session to a direct one (docs/protocol/sbdp.md)."""

from sideband.direct.handshake import Rekey
from sideband.direct.link import DirectLink
from sideband.direct.moving import upgrades, when_direct
from sideband.direct.negotiator import DirectNegotiator, sbdp_negotiator
from sideband.direct.policy import DirectPolicy, IceServer
from sideband.direct.sessions import connect, listen

__all__ = [
    "DirectLink",
    "DirectNegotiator",
    "DirectPolicy",
    "IceServer",
    "Rekey",
    "connect",
    "listen",
    "sbdp_negotiator",
    "upgrades",
    "when_direct",
]
