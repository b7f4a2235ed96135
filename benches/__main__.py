"""Run benchmark suites and write their reports."""

import argparse
import importlib
import pkgutil
import sys
from pathlib import Path

from benches import suites
from benches.overview import write_overview
from benches.report import machine_facts, to_markdown, write_report
from sideband.bench.measuring import Settings
from sideband.cli.demo.payload import parse_size

_REPORTS = Path(__file__).parent / "reports"
_QUICK_BYTES = 16 << 20


def main(arguments: list[str] | None = None) -> int:
    """Run the suites named on the command line, all of them by default."""
    known = sorted(module.name for module in pkgutil.iter_modules(suites.__path__))
    parser = argparse.ArgumentParser(prog="python -m benches", description="Compare with the rivals in one run.")
    parser.add_argument("suites", nargs="*", metavar="SUITE", help=f"any of: {', '.join(known)} (default: all)")
    parser.add_argument("--rounds", type=int, default=Settings.rounds, help="samples of each contestant (%(default)s)")
    parser.add_argument(
        "--seconds", type=float, default=Settings.sample_seconds, help="length of a sample (%(default)s)"
    )
    parser.add_argument(
        "--size", type=parse_size, default=Settings.stream_bytes, help="of a stream or file, such as 64MiB (1GiB)"
    )
    parser.add_argument("--local", action="store_true", help="only what needs nothing installed from PyPI")
    parser.add_argument("--quick", action="store_true", help="7 short rounds, nothing written: does it run at all?")
    parser.add_argument("--out", type=Path, default=_REPORTS, help="folder of the reports (benches/reports)")
    options = parser.parse_args(arguments)
    unknown = sorted(set(options.suites) - set(known))
    if unknown:
        parser.error(f"no suite is called {', '.join(unknown)}; there are: {', '.join(known)}")
    settings = Settings(options.rounds, options.seconds, options.size, not options.local)
    if options.quick:
        settings = Settings(
            rounds=7, sample_seconds=0.001, stream_bytes=min(options.size, _QUICK_BYTES), pypi=not options.local
        )
    for name in options.suites or known:
        print(f"sideband: measuring {name}", file=sys.stderr)
        module = importlib.import_module(f"benches.suites.{name}")
        result = module.run(settings)
        print(to_markdown(name, module.TITLE, result, settings, machine_facts()))
        if not options.quick:
            print(f"sideband: wrote {write_report(name, module.TITLE, result, settings, options.out)}", file=sys.stderr)
    if not options.quick:
        write_overview(options.out)
    return 0


if __name__ == "__main__":
    sys.exit(main())
