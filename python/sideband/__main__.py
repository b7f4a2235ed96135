"""The command line as a program: the script `sideband`, or `python -m sideband` where that is not on the path."""

import sys

__all__ = ["main"]


def main() -> None:
    """Run the command line; Ctrl-C is 130 from the first moment, while modules are still being loaded too."""
    try:
        from sideband.cli.main import main as run

        run()
    except KeyboardInterrupt:
        sys.exit(130)


if __name__ == "__main__":
    main()
