"""Streams without a relay, against bare sockets and libraries; and a stream whose session leaves the relay."""

import statistics
import tempfile
from contextlib import ExitStack

from benches.certificate import make_certificate
from benches.direct_ways import move, receiver, switching
from sideband.bench.measuring import Aim, Settings, SuiteResult, Table
from sideband.bench.stream_path import our_path

__all__ = ["TITLE", "run"]

TITLE = "Direct sessions"

PLAIN, TLS, TCP, RELAY = "asyncio TCP, nothing encrypted", "asyncio TLS 1.3", "ours, TCP", "ours, through our relay"
PLAIN_TUNED = f"{PLAIN}, allocator as ours"
BARE_QUIC, QUIC = "bare aioquic", "ours, QUIC"
BARE_CHANNEL, CHANNEL = "bare aiortc", "ours, WebRTC"
_KINDS = {
    PLAIN: "plain",
    PLAIN_TUNED: "plain-tuned",
    TLS: "tls",
    TCP: "tcp",
    BARE_QUIC: "bare-quic",
    QUIC: "quic",
    BARE_CHANNEL: "bare-webrtc",
    CHANNEL: "webrtc",
}
_SHARES = {BARE_QUIC: 16, QUIC: 16, BARE_CHANNEL: 16, CHANNEL: 16}
"""QUIC and WebRTC in Python move a fraction of what TCP does; they are measured with this part of the bytes."""
_WARM_UP_BYTES = 4 << 20
_NOTE = (
    "Two processes on one machine over loopback, WebRTC over the machine's own address; one stream, written in pieces "
    "of 256 KiB, through the relay of 64 KiB, messages of 64 KiB on bare data channels. Connecting is not counted. "
    "Our receivers keep memory that they have freed, as the commands do (`sideband.tune_allocator`); most of the time "
    "of asyncio's goes into getting it anew, as the row with the same setting shows."
)
_SWITCH_NOTE = (
    "A stream flows through the relay as fast as it can while its session moves to direct TCP. Told is the longest "
    "time in which none of its bytes came, from its first to its last; each round is a session of its own."
)


def run(settings: Settings) -> SuiteResult:
    """Measure every way in turns, then the switches."""
    samples = _streams(settings)
    ratios = {
        (name, rival): statistics.median(their / our for our, their in zip(samples[name], samples[rival], strict=True))
        for name, rival in ((TCP, PLAIN), (TCP, TLS), (TCP, RELAY), (QUIC, BARE_QUIC), (CHANNEL, BARE_CHANNEL))
    }
    result = SuiteResult([_table(samples, settings)], {f"{name}, seconds": one for name, one in samples.items()})
    result.aims += [
        Aim("One direct stream over TCP, rate against plain asyncio TCP", ratios[TCP, PLAIN], 0.6),
        Aim("One direct stream over TCP, rate against asyncio TLS 1.3", ratios[TCP, TLS], 1.0),
        Aim("One direct stream over TCP, rate against through our relay", ratios[TCP, RELAY], 1.5),
        Aim("One direct stream over QUIC, rate against bare aioquic", ratios[QUIC, BARE_QUIC], 0.9),
        Aim("One direct stream over WebRTC, rate against bare aiortc", ratios[CHANNEL, BARE_CHANNEL], 0.9),
    ]
    _switches(result, settings)
    return result


def _streams(settings: Settings) -> dict[str, list[float]]:
    with ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory())
        certificate, authority = make_certificate(folder)
        receivers = {
            name: stack.enter_context(receiver(kind, *([certificate] if kind in ("tls", "bare-quic") else [])))
            for name, kind in _KINDS.items()
        }
        relayed = stack.enter_context(our_path())

        def moved(name: str, size: int) -> float:
            if name == RELAY:
                return relayed.move(size, up=True).seconds
            return move(_KINDS[name], receivers[name], size, authority)

        names = (PLAIN, PLAIN_TUNED, TLS, TCP, RELAY, BARE_QUIC, QUIC, BARE_CHANNEL, CHANNEL)
        for name in names:
            moved(name, min(_size(name, settings), _WARM_UP_BYTES))
        samples: dict[str, list[float]] = {name: [] for name in names}
        for _ in range(settings.rounds):
            for name in names:
                samples[name].append(moved(name, _size(name, settings)))
        return samples


def _table(samples: dict[str, list[float]], settings: Settings) -> Table:
    rates = {name: _size(name, settings) / statistics.median(seconds) for name, seconds in samples.items()}
    rows = []
    for name, seconds in samples.items():
        low, middle, high = statistics.quantiles((_size(name, settings) / one for one in seconds), n=4)
        size = f"{_size(name, settings) / 2**20:,g} MiB"
        rate = rates[name]
        rows.append(
            [name, size, f"{rate / 1e6:,.0f} MB/s", f"{(high - low) / middle:.0%}", f"{rate / rates[PLAIN]:.2f}"]
        )
    return Table("One stream", ["way", "size", "rate", "spread", "against plain TCP"], rows, _NOTE)


def _switches(result: SuiteResult, settings: Settings) -> None:
    with switching() as daemon:
        daemon.once()
        gaps = [daemon.once() * 1e3 for _ in range(settings.rounds)]
    row = [str(len(gaps)), f"{statistics.median(gaps):.1f} ms", f"{max(gaps):.1f} ms"]
    result.tables.append(
        Table(
            "A stream whose session leaves the relay", ["switches", "gap, median", "gap, longest"], [row], _SWITCH_NOTE
        )
    )
    result.samples["longest gap of a stream that moves, ms"] = gaps
    result.aims.append(
        Aim("Longest gap of a stream whose session leaves the relay", max(gaps), 200, at_least=False, unit=" ms")
    )


def _size(name: str, settings: Settings) -> int:
    return settings.stream_bytes // _SHARES.get(name, 1)
