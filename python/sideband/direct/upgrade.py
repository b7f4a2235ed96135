"""The upgrade of one relayed session, without I/O (docs/protocol/sbdp.md, "Upgrade").

    client: idle -> offered -> trying -> chosen -> switching -> direct
    daemon: idle ------------> trying -----------> switching -> direct
    any but direct -> idle (the attempt ends), switching or direct -> back -> idle

Events come in as method calls, and each returns what to do. A client alone chooses; whoever has sent `switch` may come
back as long as the relay's session is open, and both sides then repeat by number what the other one lacks.
"""

from __future__ import annotations

import hmac
from dataclasses import dataclass, field
from enum import Enum
from typing import TypeAlias

from sideband.direct.messages import MAX_ATTEMPTS, Offer, decode, encode, offer_fields, offer_of

__all__ = [
    "Action",
    "Back",
    "Channels",
    "Choose",
    "Gate",
    "Invited",
    "Lost",
    "Moved",
    "Pause",
    "Phase",
    "Say",
    "Switch",
    "Try",
    "Upgrade",
    "Welcome",
]


class Phase(Enum):
    """Where an attempt stands."""

    IDLE = "idle"
    OFFERED = "offered"
    TRYING = "trying"
    CHOSEN = "chosen"
    SWITCHING = "switching"
    DIRECT = "direct"


# Actions


@dataclass(frozen=True, slots=True)
class Say:
    """Send a message of direct/1 by whatever way frames leave at present."""

    message: bytes


@dataclass(frozen=True, slots=True)
class Invited:
    """The daemon would like this client to begin."""


@dataclass(frozen=True, slots=True)
class Try:
    """Dial the other side's candidates, and let it dial ours; the daemon first answers with its own offer."""

    attempt: bytes
    remote: Offer


@dataclass(frozen=True, slots=True)
class Choose:
    """Keep this channel and close all others."""

    channel: bytes


@dataclass(frozen=True, slots=True)
class Switch:
    """Send `switch` as the last message on the relay, and everything after it by the channel."""

    attempt: bytes
    channel: bytes


@dataclass(frozen=True, slots=True)
class Gate:
    """All that the other side sent by the relay has come: read what the channel brings."""


@dataclass(frozen=True, slots=True)
class Back:
    """Go back to the relay with this as the first message there, close the channels, repeat what is missing."""

    attempt: bytes


@dataclass(frozen=True, slots=True)
class Welcome:
    """The other side is back on the relay too."""


@dataclass(frozen=True, slots=True)
class Channels:
    """Close every channel and stop trying."""


@dataclass(frozen=True, slots=True)
class Moved:
    """Both directions have left the relay for good."""


@dataclass(frozen=True, slots=True)
class Pause:
    """The channel is gone while the relay's session is cut: wait for that one as if nothing else had been."""


@dataclass(frozen=True, slots=True)
class Lost:
    """The session is over: neither way leads on."""


Action: TypeAlias = Say | Invited | Try | Choose | Switch | Gate | Back | Welcome | Channels | Moved | Pause | Lost


@dataclass(slots=True)
class Upgrade:
    """One side's attempts, one at a time.

    Args:
        client: whether this side opened the relayed session.
        allowed: whether it takes part at all.
        invitations: how many attempts the other side may still bring about, by `offer` or `ask`.

    Attributes:
        phase: where the attempt stands.
        channel: the one that was chosen.
    """

    client: bool
    allowed: bool = True
    invitations: int = MAX_ATTEMPTS
    phase: Phase = Phase.IDLE
    channel: bytes | None = None
    _attempt: bytes | None = None
    _previous: bytes | None = None
    _ready: set[bytes] = field(default_factory=set)
    _wanted: bytes | None = None
    _sent: bool = False
    _came: bool = False
    _told: bool = False
    _relay_open: bool = True
    _relay_cut: bool = False
    _away: bool = False

    # What this side does

    def start(self, attempt: bytes, own: Offer) -> list[Action]:
        """The client begins; nothing happens while an attempt is under way, or after the move."""
        if not self._may_begin() or not self.client:
            return []
        self._begin(attempt, Phase.OFFERED)
        return [Say(encode("offer", attempt, offer_fields(own)))]

    def answer(self, own: Offer) -> list[Action]:
        """The daemon has gathered what it answers `Try` with."""
        if self.client or self.phase is not Phase.TRYING or self._attempt is None:
            return []
        return [Say(encode("answer", self._attempt, offer_fields(own)))]

    def ready(self, channel: bytes) -> list[Action]:
        """A channel stands whose key is the announced one."""
        if self.phase is Phase.TRYING:
            self._ready.add(channel)
            if self.client and self._attempt is not None:
                self.phase, self.channel = Phase.CHOSEN, channel
                return [Say(encode("use", self._attempt, {"pair": channel})), Choose(channel)]
            if channel == self._wanted and self._attempt is not None:
                return self._used(self._attempt, channel)
        return []

    def lost(self, channel: bytes) -> list[Action]:
        """A channel is gone."""
        self._ready.discard(channel)
        if channel != self.channel:
            return []
        if self.phase is Phase.CHOSEN:
            return self._give_up()
        if self._relay_cut and self._relay_open:
            self._end()
            return [Channels(), Pause()]
        if self.phase in (Phase.SWITCHING, Phase.DIRECT):
            return self._back() if self._relay_open else [Channels(), Lost()]
        return []

    def left(self) -> list[Action]:
        """Our `switch` is on its way."""
        if self.phase is Phase.SWITCHING:
            self._sent = True
            return self._complete()
        return []

    def expired(self) -> list[Action]:
        """The time for the attempt is over."""
        if self.phase in (Phase.OFFERED, Phase.TRYING, Phase.CHOSEN):
            return self._give_up()
        if self.phase is Phase.SWITCHING and self._relay_open:
            return self._back()
        return []

    # What the relay does

    def relay_paused(self) -> list[Action]:
        """The relay's session is cut for now: an attempt ends with it, and nothing is to be said."""
        if self.phase is Phase.DIRECT:
            # Unless the client has left it, that side gives the attempt up: its channel will tell.
            self._relay_cut = True
            return []
        self._away = False
        if self.phase is Phase.IDLE:
            return []
        self._end()
        return [Channels()]

    def relay_resumed(self) -> list[Action]:
        """The relay's session goes on, which was cut while this one had moved."""
        self._relay_cut = False
        return []

    def relay_ended(self) -> list[Action]:
        """The relay's session is over."""
        self._relay_open = False
        if self.phase is Phase.DIRECT:
            return []
        if self.phase is not Phase.IDLE:
            self._end()
            return [Channels(), Lost()]
        return [Lost()]

    # What the other side says

    def message(self, data: bytes, expected: int) -> list[Action]:
        """Take a message of direct/1. One that makes no sense now, or is broken, is ignored.

        Args:
            data: as it came.
            expected: the number of the next covered frame.
        """
        fields = decode(data)
        if fields is None or not self.allowed:
            return []
        kind, attempt = fields["t"], fields["id"]
        if kind == "ask":
            return [Invited()] if self.client and self._may_begin() and self._invited() else []
        if kind == "offer":
            return self._offered(attempt, offer_of(fields))
        current = self._attempt is not None and hmac.compare_digest(attempt, self._attempt)
        if kind == "back":
            known = current or (self._previous is not None and hmac.compare_digest(attempt, self._previous))
            return self._called_back(attempt) if known else []
        if not current:
            return []
        match kind:
            case "answer" if self.client and self.phase is Phase.OFFERED:
                offer = offer_of(fields)
                if offer is None:
                    return self._give_up()
                self.phase = Phase.TRYING
                return [Try(attempt, offer)]
            case "use" if not self.client and self.phase is Phase.TRYING:
                return self._used(attempt, fields.get("pair"))
            case "used" if self.client and self.phase is Phase.CHOSEN and fields.get("pair") == self.channel:
                return self._switch(attempt)
            case "stop" if self.phase in (Phase.OFFERED, Phase.TRYING, Phase.CHOSEN):
                self._end()
                return [Channels()]
            case "switch" if self.phase is Phase.SWITCHING and not self._came:
                if fields.get("n") != expected:
                    return self._back()
                self._came = True
                # The daemon says it last, once nothing is under way by the relay: the client leaves it on this word.
                said = [Say(encode("switched", attempt))] if self.client else []
                return [*said, Gate(), *self._complete()]
            case "switched" if self.phase is Phase.SWITCHING and not self._told:
                self._told = True
                return self._complete()
        return []

    # What follows is private.

    def _may_begin(self) -> bool:
        return self.allowed and self.phase is Phase.IDLE and self._relay_open and not self._away

    def _invited(self) -> bool:
        self.invitations -= 1
        return self.invitations >= 0

    def _begin(self, attempt: bytes, phase: Phase) -> None:
        self._previous, self._attempt, self.phase = self._attempt or self._previous, attempt, phase
        self.channel = self._wanted = None
        self._ready.clear()
        self._sent = self._came = self._told = False

    def _end(self) -> None:
        self.phase, self.channel = Phase.IDLE, None
        self._ready.clear()

    def _give_up(self) -> list[Action]:
        attempt = self._attempt or b""
        self._end()
        return [Say(encode("stop", attempt)), Channels()]

    def _offered(self, attempt: bytes, offer: Offer | None) -> list[Action]:
        if self.client or offer is None or not self._may_begin() or attempt in (self._attempt, self._previous):
            return []
        if not self._invited():
            return [Say(encode("stop", attempt))]
        self._begin(attempt, Phase.TRYING)
        return [Try(attempt, offer)]

    def _used(self, attempt: bytes, channel: object) -> list[Action]:
        if not isinstance(channel, bytes):
            return self._give_up()
        if channel not in self._ready:
            # The relay may be faster than the last message of the channel's own handshake.
            self._wanted = channel
            return []
        self.channel = channel
        return [Choose(channel), Say(encode("used", attempt, {"pair": channel})), *self._switch(attempt)]

    def _switch(self, attempt: bytes) -> list[Action]:
        assert self.channel is not None  # noqa: S101  (narrows the type; both callers have just chosen it)
        self.phase = Phase.SWITCHING
        return [Switch(attempt, self.channel)]

    def _complete(self) -> list[Action]:
        if not (self._sent and self._came and self._told):
            return []
        self.phase = Phase.DIRECT
        if self.client:
            self._relay_open = False
            return [Moved()]
        return [Say(encode("switched", self._attempt or b"")), Moved()]

    def _back(self, attempt: bytes | None = None) -> list[Action]:
        attempt = attempt or self._attempt or b""
        self._end()
        self._away = True
        return [Back(attempt), Channels()]

    def _called_back(self, attempt: bytes) -> list[Action]:
        if self._away:
            self._away = False
            return [Welcome()]
        if not self._relay_open:
            return []
        # Under the name that the other side knows, which may be the attempt's before this one.
        actions = self._back(attempt)
        self._away = False
        return [*actions, Welcome()]
