"""The rules that the hosting platform does not enforce on workflows: pins, permissions, limits of time."""

import re
from pathlib import Path

import pytest
import yaml

WORKFLOWS = sorted((Path(__file__).parents[2] / ".github" / "workflows").glob("*.yml"))
PIN = re.compile(r"[\w.-]+/[\w./-]+@([0-9a-f]{40} # v\d+\.\d+\.\d+|v\d+\.\d+\.\d+ # .*hash.*)")


@pytest.fixture(params=WORKFLOWS, ids=lambda path: path.stem)
def path(request: pytest.FixtureRequest) -> Path:
    return request.param


@pytest.fixture
def workflow(path: Path) -> dict:
    return yaml.safe_load(path.read_text("utf-8"))


def test_all_five_are_there() -> None:
    assert {path.stem for path in WORKFLOWS} == {"audit", "ci", "fuzz", "release", "wheels"}


def test_every_action_is_pinned(path: Path) -> None:
    uses = re.findall(r"uses: (.*)", path.read_text("utf-8"))
    assert uses
    assert [use for use in uses if not use.startswith("./") and not PIN.fullmatch(use)] == []


def test_a_workflow_may_read_and_nothing_else(workflow: dict) -> None:
    assert workflow["permissions"] == {"contents": "read"}


def test_only_the_release_writes(path: Path, workflow: dict) -> None:
    granted = {name: job["permissions"] for name, job in workflow["jobs"].items() if "permissions" in job}
    expected = {
        "publish": {"id-token": "write", "attestations": "write"},
        "announce": {"contents": "write"},
    }
    assert granted == (expected if path.stem == "release" else {})


def test_every_job_ends_by_itself(workflow: dict) -> None:
    assert [name for name, job in workflow["jobs"].items() if "timeout-minutes" not in job and "uses" not in job] == []


def test_no_checkout_keeps_its_token(workflow: dict) -> None:
    steps = [step for job in workflow["jobs"].values() for step in job.get("steps", [])]
    checkouts = [step for step in steps if step.get("uses", "").startswith("actions/checkout@")]
    assert [step for step in checkouts if step["with"]["persist-credentials"] is not False] == []
