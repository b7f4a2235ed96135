"""Who is connected: counts that never go wrong, and watchers that are told of changes alone."""

import asyncio

from hypothesis import given
from hypothesis import strategies as st

from sideband.inbox.presence import Presence


class Told:
    def __init__(self) -> None:
        self.changes: list[bool] = []

    def changed(self, address: str, online: bool) -> None:
        self.changes.append(online)


@given(st.lists(st.sampled_from(["open", "close", "linger"]), max_size=40))
def test_watchers_hear_each_change_once(steps: list[str]) -> None:
    async def run() -> None:
        presence, told, connections = Presence(), Told(), 0
        presence.watch("bob", told)
        for step in steps:
            if step == "open":
                presence.opened("bob")
                connections += 1
            elif connections:
                presence.closed("bob", 3600 if step == "linger" else 0)
                connections -= 1
            assert presence.connections("bob") == connections
            assert presence.online("bob") or connections == 0
            assert told.changes == [index % 2 == 0 for index in range(len(told.changes))]
            assert (len(told.changes) % 2 == 1) == presence.online("bob")
        presence.unwatch("bob", told)
        presence.close()

    asyncio.run(run())


async def test_who_lingers_is_gone_after_its_time_unless_it_comes_back() -> None:
    presence, told = Presence(), Told()
    presence.watch("bob", told)
    presence.opened("bob")
    presence.closed("bob", 0.01)
    presence.opened("bob")
    presence.closed("bob", 0.01)
    assert (told.changes, presence.online("bob"), len(presence)) == ([True], True, 1)
    async with asyncio.timeout(60):
        while presence.online("bob"):  # noqa: ASYNC110  (what is waited for is a timer without an event)
            await asyncio.sleep(0)
    assert told.changes == [True, False]
    assert len(presence) == 0
