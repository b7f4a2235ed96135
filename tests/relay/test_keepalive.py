from sideband.relay.keepalive import Keepalive, Verdict


def look(keepalive: Keepalive, *times: float, reading: bool = True) -> list[Verdict]:
    return [keepalive.look(now, reading=reading) for now in times]


def test_two_pings_without_a_sign_of_life() -> None:
    keepalive = Keepalive(25.0, now=0.0)
    assert look(keepalive, 24.9, 25.0, 49.9, 50.0, 74.9, 75.0) == [
        Verdict.NOTHING,
        Verdict.PING,
        Verdict.NOTHING,
        Verdict.PING,
        Verdict.NOTHING,
        Verdict.DEAD,
    ]


def test_any_inbound_byte_counts() -> None:
    keepalive = Keepalive(25.0, now=0.0)
    for n in range(1, 100):
        keepalive.heard = n % 2 == 0
        assert keepalive.look(25.0 * n, reading=True) is Verdict.PING


def test_the_clock_stands_while_the_relay_does_not_read() -> None:
    keepalive = Keepalive(25.0, now=0.0)
    assert look(keepalive, 25.0, 50.0) == [Verdict.PING, Verdict.PING]
    assert look(keepalive, *range(51, 1000), reading=False) == [Verdict.NOTHING] * 949
    assert look(keepalive, 999 + 24) == [Verdict.NOTHING]
    assert look(keepalive, 999 + 25) == [Verdict.DEAD]
