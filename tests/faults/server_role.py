"""`sideband serve`, which ends when the test does."""

import sys

from sideband.cli.main import main
from tests.faults.role import end_with_parent

if __name__ == "__main__":
    end_with_parent()
    sys.argv[0] = "sideband"
    main()
