"""Sealing and opening Data frames: ours, one at a time and in batches, against the same session in Python."""

from sideband.bench.measuring import Aim, Settings, SuiteResult, Table, measure, median, spread
from sideband.bench.sealing import (
    BATCH,
    OPENSSL,
    OURS,
    OURS_BATCH,
    PURE,
    SIZES,
    Action,
    check_agreement,
    contestants,
)

__all__ = ["TITLE", "run"]

TITLE = "Seal and open Data frames"

_SMALL, _LARGE = (64,), (16_384, 65_508)
_NOTE = (
    "Time a message and plaintext rate; ratios above 1 mean that ours is faster. Processor time of one thread. "
    "A batch of 32 large messages makes up to 2 MiB of new objects at once, and glibc returns that memory to the "
    "system after each batch, to take it again page by page; with MALLOC_TRIM_THRESHOLD_=100000000 in the environment "
    "a batch costs no more than its messages one by one. So a sender does best with batches under 256 KiB."
)


def run(settings: Settings) -> SuiteResult:
    """Measure every size in both directions and return the two tables."""
    check_agreement()
    result = SuiteResult(tables=[])
    pure_ratios: list[float] = []
    actions: tuple[Action, ...] = ("seal", "open")
    for action in actions:
        rows = []
        for size in SIZES:
            samples = measure(contestants(action, size), settings)
            result.samples[f"{action} {size}"] = dict(samples)
            ours, batch, openssl, pure = (median(samples, name) for name in (OURS, OURS_BATCH, OPENSSL, PURE))
            against = f"{action.capitalize()} {size:,} B{{}}, rate against Python over `cryptography`"
            if size in _SMALL:
                result.aims.append(Aim(against.format(" one at a time"), openssl / ours, 3.0))
                result.aims.append(Aim(against.format(f", {BATCH} at a time"), openssl / batch, 4.0))
            elif size in _LARGE:
                result.aims.append(Aim(against.format(" one at a time"), openssl / ours, 1.0))
            pure_ratios.append(pure / ours)
            rows.append(
                [
                    f"{size:,}",
                    *(_rate(seconds, size) for seconds in (ours, batch, openssl, pure)),
                    f"{openssl / ours:.2f}",
                    f"{openssl / batch:.2f}",
                    f"{pure / ours:,.0f}",
                    f"{max(spread(samples, name) for name in samples):.0%}",
                ]
            )
        columns = ["bytes", OURS, OURS_BATCH, OPENSSL, PURE, "ours / cryptography", "batch / cryptography"]
        columns += ["ours / pure Python", "widest spread"]
        result.tables.append(
            Table(
                f"{action.capitalize()}: header, nonce, {'sequence' if action == 'seal' else 'replay check'}, cipher",
                columns,
                rows,
                _NOTE if action == "seal" else "As above.",
            )
        )
    result.aims.append(Aim("Any size either way, rate against pure Python, the least", min(pure_ratios), 300.0))
    return result


def _rate(seconds: float, size: int) -> str:
    time = f"{seconds * 1e9:,.0f} ns" if seconds < 1e-5 else f"{seconds * 1e6:,.0f} µs"
    rate = size / seconds / 1e6
    return f"{time}, {rate:,.0f} MB/s" if rate >= 10 else f"{time}, {rate:.2f} MB/s"
