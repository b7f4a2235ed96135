"""Say what the conformance suite found: exit code 1 when a case failed."""

import json
import sys
from collections import Counter
from pathlib import Path

PASSED = {"OK", "NON-STRICT", "INFORMATIONAL"}


def main(index: Path) -> int:
    """Read the suite's index of results and print its sum."""
    cases = json.loads(index.read_text("utf-8"))["sideband"]
    behaviour = Counter(case["behavior"] for case in cases.values())
    closing = Counter(case["behaviorClose"] for case in cases.values())
    print(f"{len(cases)} cases: {dict(behaviour)}; closing: {dict(closing)}")
    failed = [
        f"{name}: {case['behavior']}, closing {case['behaviorClose']}"
        for name, case in cases.items()
        if case["behavior"] not in PASSED or case["behaviorClose"] not in PASSED
    ]
    print("\n".join(failed))
    return 1 if failed or not cases else 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
