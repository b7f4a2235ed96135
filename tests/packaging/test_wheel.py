"""What a user installs: the wheel in an empty environment, the source distribution, the checkout."""

import json
import os
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
from interpreters import oldest_and_newest

pytestmark = [pytest.mark.servers, pytest.mark.timeout(900)]

ROOT = Path(__file__).parents[2]


def run(*command: str | Path, cwd: Path, env: dict[str, str]) -> str:
    done = subprocess.run(
        [str(word) for word in command], cwd=cwd, env=env, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, f"{' '.join(map(str, command))}\n{done.stdout[-4000:]}\n{done.stderr[-4000:]}"
    return done.stdout


def user_environment(home: Path) -> dict[str, str]:
    """An environment as a user without Rust and without this checkout has it; pip's own settings stay."""
    kept = {
        name: value for name, value in os.environ.items() if name.startswith(("PIP_", "SSL_CERT", "LANG", "TMPDIR"))
    }
    return kept | {"HOME": str(home), "PATH": "/usr/bin:/bin", "PIP_CACHE_DIR": str(Path.home() / ".cache" / "pip")}


def builder_environment() -> dict[str, str]:
    """The environment of a developer, without what the `make` around this test has put there."""
    made_by_make = {"MAKEFLAGS", "MAKELEVEL", "MFLAGS", "VIRTUAL_ENV", "PYO3_PYTHON"}
    return {name: value for name, value in os.environ.items() if name not in made_by_make}


@pytest.fixture(scope="session")
def wheel() -> Path:
    run("make", "wheel", cwd=ROOT, env=builder_environment())
    (built,) = (ROOT / "dist").glob("*.whl")
    return built


@pytest.fixture
def empty_venv(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    venv = tmp_path / "venv"
    python = sys.executable if request.param == "this" else oldest_and_newest()[request.param]
    run(python, "-m", "venv", venv, cwd=tmp_path, env=user_environment(tmp_path))
    return venv / "bin"


def check_demo(bin_folder: Path, cwd: Path) -> None:
    output = run(bin_folder / "sideband", "demo", "--size", "4MiB", "--json", cwd=cwd, env=user_environment(cwd))
    lines = [json.loads(line) for line in output.splitlines()]
    done = lines[-1]
    assert done["event"] == "done"
    assert done["ok"] is True
    assert done["bytes"] == 4 * 1024 * 1024
    assert done["sha256_match"] is True
    assert done["relay_saw_plaintext"] is False
    assert re.fullmatch(r"SHA256:[0-9A-F]{2}(:[0-9A-F]{2}){31}", done["fingerprint"])


@pytest.mark.parametrize("empty_venv", ["oldest", "newest"], indirect=True)
def test_the_wheel_runs_the_demo_in_an_empty_environment_without_rust(
    wheel: Path, empty_venv: Path, tmp_path: Path
) -> None:
    environment = user_environment(tmp_path)
    run(empty_venv / "pip", "install", "--quiet", "--only-binary", "sideband", wheel, cwd=tmp_path, env=environment)
    check_demo(empty_venv, tmp_path)


def test_one_wheel_serves_old_systems_and_every_supported_python(wheel: Path) -> None:
    if sys.platform == "linux":
        platform = re.fullmatch(r"sideband-[\d.]+-cp311-abi3-.*\bmanylinux_2_(\d+)_\w+\.whl", wheel.name)
        assert platform, wheel.name
        assert int(platform[1]) <= 17
    else:
        assert "-cp311-abi3-" in wheel.name


def test_the_wheel_holds_types_and_licence_and_nothing_of_the_checkout(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    assert {"sideband/py.typed", "sideband/_native.pyi", "sideband/__init__.py"} <= set(names)
    assert any(name.endswith("licenses/LICENSE") for name in names)
    assert {name.split("/")[0].partition("-")[0] for name in names} == {"sideband"}
    assert not [name for name in names if "__pycache__" in name]


def test_the_native_module_does_not_tell_where_it_was_built(wheel: Path) -> None:
    archive = zipfile.ZipFile(wheel)
    (native,) = (
        name for name in archive.namelist() if name.startswith("sideband/_native.") and name != "sideband/_native.pyi"
    )
    content = archive.read(native)
    assert [place for place in (ROOT, Path.home()) if str(place).encode() + b"/" in content] == []


@pytest.mark.parametrize("empty_venv", ["this"], indirect=True)
@pytest.mark.parametrize("source", ["sdist", "checkout"])
def test_it_installs_from_source(source: str, empty_venv: Path, tmp_path: Path) -> None:
    environment = builder_environment()
    what: Path = ROOT
    if source == "sdist":
        run(sys.executable, "-m", "maturin", "sdist", "--out", tmp_path, cwd=ROOT, env=environment)
        (what,) = tmp_path.glob("*.tar.gz")
        # The crates that it depends on need not be compiled once more.
        environment |= {"CARGO_TARGET_DIR": str(ROOT / "target")}
    run(empty_venv / "pip", "install", "--quiet", what, cwd=tmp_path, env=environment)
    check_demo(empty_venv, tmp_path)
