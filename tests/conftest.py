"""What holds for all tests."""

from hypothesis import settings

# A slow machine is no failure: nothing here asserts how long something takes.
settings.register_profile("sideband", deadline=None)
settings.load_profile("sideband")
