"""Print the versions installed in this environment as pip constraints, without the project itself."""

from importlib.metadata import distributions

SKIPPED = {"pip", "setuptools", "sideband", "wheel"}

print("# Versions that `make test` was last seen to pass with. Written by `make lock`; pip takes it as --constraint.")
pins = {dist.name.lower().replace("_", "-"): dist.version for dist in distributions()}
print("\n".join(f"{name}=={version}" for name, version in sorted(pins.items()) if name not in SKIPPED))
