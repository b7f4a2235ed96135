"""What the modules beside the tests assert is to be shown like what the tests assert."""

import pytest

pytest.register_assert_rewrite("tests.faults.ledger", "tests.faults.processes", "tests.faults.world")
