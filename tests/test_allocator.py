"""The allocator's settings: in a process of its own, since they hold until its end."""

from __future__ import annotations

import os
import platform
import subprocess
import sys

import pytest

_FAULTS = """
import resource, sys
from sideband.allocator import tune_allocator
if sys.argv[1] == "tuned":
    assert tune_allocator() is True
def batch():
    return [bytes(65_508) for _ in range(32)]
batch()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(50):
    batch()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc has these settings")
def test_batches_of_large_objects_fault_no_pages_in_again() -> None:
    assert _page_faults("tuned") < 600  # the first batches; 32 x 16 pages a batch otherwise


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc has these settings")
def test_the_environment_switches_it_off() -> None:
    program = "from sideband.allocator import tune_allocator; print(tune_allocator())"
    environment = {**os.environ, "SIDEBAND_ALLOCATOR": "system"}
    done = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def _page_faults(how: str) -> int:
    done = subprocess.run([sys.executable, "-c", _FAULTS, how], capture_output=True, text=True, check=True)
    return int(done.stdout)
