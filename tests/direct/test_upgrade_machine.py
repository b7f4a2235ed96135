"""What each side of an upgrade does, event by event (docs/protocol/sbdp.md, "Upgrade")."""

from __future__ import annotations

from itertools import permutations
from typing import Any

import pytest

from sideband.direct.messages import Offer, decode, encode
from sideband.direct.upgrade import (
    Action,
    Back,
    Channels,
    Choose,
    Gate,
    Invited,
    Lost,
    Pause,
    Phase,
    Say,
    Switch,
    Try,
    Upgrade,
    Welcome,
)

ID, OTHER_ID = b"i" * 16, b"o" * 16
WAY, OTHER_WAY = b"w" * 16, b"v" * 16
OURS, THEIRS = Offer(b"k" * 32, ("tcp://192.0.2.1:1",)), Offer(b"t" * 32, ("tcp://192.0.2.2:2",), "v=0")
NEXT = 7
"""The number that the next covered message of the other side bears."""


def offer(kind: str, of: Offer = THEIRS, attempt: bytes = ID) -> bytes:
    return encode(kind, attempt, {"key": of.key, "c": list(of.candidates), "sdp": of.description})


def told(side: Upgrade, kind: str, attempt: bytes = ID, **fields: Any) -> list[Action]:
    return side.message(encode(kind, attempt, fields), NEXT)


def kinds(actions: list[Action]) -> list[str]:
    """The names of actions, and of messages what they are."""
    names = []
    for action in actions:
        if isinstance(action, Say):
            fields = decode(action.message)
            assert fields is not None
            names.append(fields["t"])
        else:
            names.append(type(action).__name__)
    return names


def client(phase: Phase) -> Upgrade:
    """A client whose attempt has come so far, with nothing in between."""
    side = Upgrade(client=True)
    if phase is Phase.IDLE:
        return side
    side.start(ID, OURS)
    if phase is Phase.OFFERED:
        return side
    side.message(offer("answer"), NEXT)
    if phase is Phase.TRYING:
        return side
    side.ready(WAY)
    if phase is Phase.CHOSEN:
        return side
    told(side, "used", pair=WAY)
    return side if phase is Phase.SWITCHING else switched(side)


def daemon(phase: Phase) -> Upgrade:
    side = Upgrade(client=False)
    if phase is Phase.IDLE:
        return side
    side.message(offer("offer"), NEXT)
    side.ready(WAY)
    side.ready(OTHER_WAY)
    if phase is Phase.TRYING:
        return side
    told(side, "use", pair=WAY)
    return side if phase is Phase.SWITCHING else switched(side)


def switched(side: Upgrade) -> Upgrade:
    side.left()
    told(side, "switch", n=NEXT)
    told(side, "switched")
    assert side.phase is Phase.DIRECT
    return side


SIDES = {"client": client, "daemon": daemon}
PHASES = [
    *(("client", phase) for phase in Phase),
    *(("daemon", phase) for phase in Phase if phase not in (Phase.OFFERED, Phase.CHOSEN)),
]


def test_the_client_offers_tries_chooses_and_switches() -> None:
    side = Upgrade(client=True)
    [said] = side.start(ID, OURS)
    assert isinstance(said, Say)
    assert decode(said.message) == {"v": 1, "t": "offer", "id": ID, "key": OURS.key, "c": list(OURS.candidates)}
    assert side.phase is Phase.OFFERED
    assert side.message(offer("answer"), NEXT) == [Try(ID, THEIRS)]
    assert side.ready(WAY) == [Say(encode("use", ID, {"pair": WAY})), Choose(WAY)]
    assert side.ready(OTHER_WAY) == []
    assert told(side, "used", pair=WAY) == [Switch(ID, WAY)]
    assert side.phase is Phase.SWITCHING


def test_the_daemon_answers_waits_for_the_choice_and_switches() -> None:
    side = Upgrade(client=False)
    assert side.message(offer("offer"), NEXT) == [Try(ID, THEIRS)]
    assert kinds(side.answer(OURS)) == ["answer"]
    assert side.ready(WAY) == side.ready(OTHER_WAY) == []
    assert told(side, "use", pair=WAY) == [Choose(WAY), Say(encode("used", ID, {"pair": WAY})), Switch(ID, WAY)]
    assert (side.phase, side.channel) == (Phase.SWITCHING, WAY)


def test_a_choice_may_come_before_the_channel() -> None:
    side = Upgrade(client=False)
    side.message(offer("offer"), NEXT)
    assert told(side, "use", pair=WAY) == []
    assert side.ready(OTHER_WAY) == []
    assert kinds(side.ready(WAY)) == ["Choose", "used", "Switch"]


@pytest.mark.parametrize("side", ["client", "daemon"])
@pytest.mark.parametrize("order", list(permutations(["left", "switch", "switched"])))
def test_a_side_has_moved_when_its_switch_has_left_and_come_and_the_other_ones_has_come(
    side: str, order: tuple[str, ...]
) -> None:
    upgrade = SIDES[side](Phase.SWITCHING)
    events = {"left": upgrade.left, "switch": lambda: told(upgrade, "switch", n=NEXT)}
    events["switched"] = lambda: told(upgrade, "switched")
    done = [events[event]() for event in order]
    expected = {"left": [], "switch": ["switched", "Gate"] if side == "client" else ["Gate"], "switched": []}
    assert [kinds(actions) for actions in done[:2]] == [expected[event] for event in order[:2]]
    # The client leaves the relay on the daemon's word, so that one comes last.
    assert kinds(done[2]) == [*expected[order[2]], *(["switched"] if side == "daemon" else []), "Moved"]
    assert upgrade.phase is Phase.DIRECT
    for event in order:  # once is enough
        assert events[event]() == []


@pytest.mark.parametrize("side", ["client", "daemon"])
@pytest.mark.parametrize("number", [NEXT - 1, NEXT + 1, None, "7"])
def test_a_switch_that_something_is_missing_before_leads_back(side: str, number: object) -> None:
    assert told(SIDES[side](Phase.SWITCHING), "switch", n=number) == [Back(ID), Channels()]


@pytest.mark.parametrize("pair", [OTHER_WAY, None, 1])
def test_a_confirmation_of_another_channel_is_none(pair: object) -> None:
    side = client(Phase.CHOSEN)
    assert told(side, "used", pair=pair) == []
    assert side.phase is Phase.CHOSEN


def test_a_choice_that_is_no_channel_ends_the_attempt() -> None:
    assert kinds(told(daemon(Phase.TRYING), "use", pair="all")) == ["stop", "Channels"]


@pytest.mark.parametrize("phase", [Phase.SWITCHING, Phase.DIRECT])
def test_a_second_choice_changes_nothing(phase: Phase) -> None:
    side = daemon(phase)
    assert told(side, "use", pair=OTHER_WAY) == []
    assert (side.phase, side.channel) == (phase, WAY)


def test_the_daemon_does_not_take_what_only_it_may_say() -> None:
    side = daemon(Phase.TRYING)
    assert side.message(offer("answer"), NEXT) == told(side, "used", pair=WAY) == told(side, "ask") == []
    assert side.start(OTHER_ID, OURS) == []
    side = client(Phase.TRYING)
    assert side.message(offer("offer", attempt=OTHER_ID), NEXT) == told(side, "use", pair=WAY) == []
    assert side.answer(OURS) == []
    assert side.phase is Phase.TRYING
    assert client(Phase.IDLE).message(offer("offer"), NEXT) == []
    assert told(daemon(Phase.IDLE), "ask") == []


@pytest.mark.parametrize(("side", "phase"), PHASES)
def test_an_attempt_begins_only_where_none_is_under_way(side: str, phase: Phase) -> None:
    idle = phase is Phase.IDLE
    if side == "client":
        assert kinds(told(client(phase), "ask", OTHER_ID)) == (["Invited"] if idle else [])
        assert kinds(client(phase).start(OTHER_ID, OURS)) == (["offer"] if idle else [])
    else:
        assert kinds(daemon(phase).message(offer("offer", attempt=OTHER_ID), NEXT)) == (["Try"] if idle else [])


def test_an_offer_counts_once() -> None:
    side = daemon(Phase.TRYING)
    told(side, "stop")
    assert side.message(offer("offer"), NEXT) == []
    assert kinds(side.message(offer("offer", attempt=OTHER_ID), NEXT)) == ["Try"]
    told(side, "stop", OTHER_ID)
    for attempt in (ID, OTHER_ID):
        assert side.message(offer("offer", attempt=attempt), NEXT) == []


@pytest.mark.parametrize(("side", "phase"), [case for case in PHASES if case[1] is not Phase.IDLE])
@pytest.mark.parametrize("kind", ["answer", "use", "used", "switch", "switched", "stop", "back"])
def test_what_is_said_of_another_attempt_is_ignored(side: str, phase: Phase, kind: str) -> None:
    upgrade = SIDES[side](phase)
    fields = {"pair": WAY, "n": NEXT, "key": THEIRS.key}
    assert told(upgrade, kind, OTHER_ID, **fields) == []
    assert upgrade.phase is phase


@pytest.mark.parametrize(("side", "phase"), PHASES)
def test_a_stop_ends_what_has_not_been_agreed_on(side: str, phase: Phase) -> None:
    upgrade = SIDES[side](phase)
    early = phase in (Phase.OFFERED, Phase.TRYING, Phase.CHOSEN)
    assert told(upgrade, "stop") == ([Channels()] if early else [])
    assert upgrade.phase is (Phase.IDLE if early else phase)


@pytest.mark.parametrize(("side", "phase"), PHASES)
def test_when_the_time_is_over(side: str, phase: Phase) -> None:
    upgrade = SIDES[side](phase)
    actions = kinds(upgrade.expired())
    if phase in (Phase.OFFERED, Phase.TRYING, Phase.CHOSEN):
        assert actions == ["stop", "Channels"]
    elif phase is Phase.SWITCHING:
        assert actions == ["Back", "Channels"]
    else:
        assert actions == []
    assert upgrade.phase is (Phase.DIRECT if phase is Phase.DIRECT else Phase.IDLE)


@pytest.mark.parametrize(("side", "phase"), PHASES)
def test_a_pause_of_the_relay_ends_an_attempt_and_leaves_a_direct_session_alone(side: str, phase: Phase) -> None:
    upgrade = SIDES[side](phase)
    moving = phase not in (Phase.IDLE, Phase.DIRECT)
    assert upgrade.relay_paused() == ([Channels()] if moving else [])
    assert upgrade.phase is (Phase.DIRECT if phase is Phase.DIRECT else Phase.IDLE)
    upgrade.relay_resumed()
    if phase is not Phase.DIRECT:
        begun = (
            upgrade.start(OTHER_ID, OURS)
            if side == "client"
            else upgrade.message(offer("offer", attempt=OTHER_ID), NEXT)
        )
        assert kinds(begun) == (["offer"] if side == "client" else ["Try"])


@pytest.mark.parametrize(("side", "phase"), PHASES)
def test_a_channel_that_is_lost(side: str, phase: Phase) -> None:
    upgrade = SIDES[side](phase)
    assert upgrade.lost(OTHER_WAY) == []
    actions = kinds(upgrade.lost(WAY))
    if phase is Phase.CHOSEN:
        assert actions == ["stop", "Channels"]
    elif phase is Phase.SWITCHING or (phase is Phase.DIRECT and side == "daemon"):
        assert actions == ["Back", "Channels"]
    elif phase is Phase.DIRECT:  # the client has left the relay
        assert actions == ["Channels", "Lost"]
    else:
        assert actions == []


def test_a_channel_that_was_lost_cannot_be_chosen_any_more() -> None:
    side = daemon(Phase.TRYING)
    side.lost(WAY)
    assert told(side, "use", pair=WAY) == []
    assert side.phase is Phase.TRYING


def test_a_channel_lost_while_the_relay_is_cut_waits_for_the_relay() -> None:
    side = daemon(Phase.DIRECT)
    side.relay_paused()
    assert side.lost(WAY) == [Channels(), Pause()]
    assert side.phase is Phase.IDLE
    side = daemon(Phase.DIRECT)
    side.relay_paused()
    side.relay_resumed()
    assert side.lost(WAY) == [Back(ID), Channels()]


@pytest.mark.parametrize(("side", "phase"), PHASES)
def test_when_the_relay_is_over(side: str, phase: Phase) -> None:
    actions = kinds(SIDES[side](phase).relay_ended())
    assert actions == ([] if phase is Phase.DIRECT else ["Lost"] if phase is Phase.IDLE else ["Channels", "Lost"])


@pytest.mark.parametrize("side", ["client", "daemon"])
def test_a_relay_that_is_over_while_something_may_be_under_way_on_it_is_the_end(side: str) -> None:
    upgrade = SIDES[side](Phase.SWITCHING)
    upgrade.left()
    told(upgrade, "switch", n=NEXT)
    assert upgrade.relay_ended() == [Channels(), Lost()]


@pytest.mark.parametrize("lost", [True, False])
def test_after_the_move_only_the_client_has_nowhere_to_go_back_to(lost: bool) -> None:
    side = client(Phase.DIRECT)
    assert (side.lost(WAY) if lost else told(side, "back", n=NEXT)) == ([Channels(), Lost()] if lost else [])
    side = daemon(Phase.DIRECT)
    side.relay_ended()
    assert (side.lost(WAY) if lost else told(side, "back", n=NEXT)) == ([Channels(), Lost()] if lost else [])


@pytest.mark.parametrize("side", ["client", "daemon"])
def test_whoever_is_called_back_goes_and_says_so(side: str) -> None:
    upgrade = SIDES[side](Phase.SWITCHING)
    assert told(upgrade, "back", n=NEXT) == [Back(ID), Channels(), Welcome()]
    assert upgrade.phase is Phase.IDLE


@pytest.mark.parametrize("side", ["client", "daemon"])
def test_whoever_goes_back_waits_for_the_other_before_anything_begins_again(side: str) -> None:
    upgrade = SIDES[side](Phase.SWITCHING)
    upgrade.lost(WAY)
    begin = (
        (lambda: upgrade.start(OTHER_ID, OURS))
        if side == "client"
        else (lambda: upgrade.message(offer("offer", attempt=OTHER_ID), NEXT))
    )
    assert begin() == []
    assert told(upgrade, "back", n=NEXT) == [Welcome()]
    assert kinds(begin()) == (["offer"] if side == "client" else ["Try"])
    # The answer may have crossed ours: it is of the attempt before this one, and leads back from this one too.
    assert told(upgrade, "back", n=NEXT) == [Back(ID), Channels(), Welcome()]


@pytest.mark.parametrize("side", ["client", "daemon"])
def test_a_pause_ends_the_waiting_for_the_other_side(side: str) -> None:
    upgrade = SIDES[side](Phase.SWITCHING)
    upgrade.lost(WAY)
    upgrade.relay_paused()
    begun = (
        upgrade.start(OTHER_ID, OURS) if side == "client" else upgrade.message(offer("offer", attempt=OTHER_ID), NEXT)
    )
    assert kinds(begun) == (["offer"] if side == "client" else ["Try"])


def test_an_answer_that_is_none_ends_the_attempt() -> None:
    side = client(Phase.OFFERED)
    assert kinds(told(side, "answer", key=b"short")) == ["stop", "Channels"]
    assert side.phase is Phase.IDLE


def test_who_takes_no_part_says_nothing() -> None:
    for is_client in (True, False):
        side = Upgrade(client=is_client, allowed=False)
        assert side.start(ID, OURS) == []
        for kind in ("ask", "offer", "answer", "use", "switch", "back"):
            assert side.message(offer(kind), NEXT) == []


def test_what_is_no_message_is_ignored() -> None:
    for side in (client(Phase.TRYING), daemon(Phase.TRYING)):
        for data in (b"", b"\x80", encode("later", ID), encode("switch", b"short"), b"\xc1" * 40):
            assert side.message(data, NEXT) == []
        assert side.phase is Phase.TRYING


def test_invited() -> None:
    assert told(client(Phase.IDLE), "ask", OTHER_ID) == [Invited()]
    assert Gate() in told(client(Phase.SWITCHING), "switch", n=NEXT)
