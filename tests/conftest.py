"""What holds for all tests."""

import pytest
from hypothesis import settings

# What the modules beside the tests assert is shown like what the tests assert. Said before any test is imported, as
# those of direct sessions use the processes of the fault tests.
pytest.register_assert_rewrite("tests.faults.ledger", "tests.faults.processes", "tests.faults.world")

# A slow machine is no failure: nothing here asserts how long something takes.
settings.register_profile("sideband", deadline=None)
settings.load_profile("sideband")
