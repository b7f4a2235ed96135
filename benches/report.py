"""Writing a suite's result for people (Markdown) and for programs (JSON), with what it was measured on."""

import datetime
import json
import os
import platform
import subprocess
from importlib.metadata import version
from pathlib import Path

from sideband.bench.measuring import Settings, SuiteResult
from sideband.secure_relay import backend

__all__ = ["machine_facts", "to_markdown", "write_report"]

_ROOT = Path(__file__).parent.parent
_PACKAGES = ("sideband", "cryptography", "aiohttp", "aioquic", "qh3", "aiortc", "wrtc")


def write_report(name: str, title: str, result: SuiteResult, settings: Settings, folder: Path) -> Path:
    """Write `<folder>/<name>.md` and `.json`, replacing those of an earlier run; return the path of the first."""
    facts = machine_facts()
    folder.mkdir(parents=True, exist_ok=True)
    page = folder / f"{name}.md"
    page.write_text(to_markdown(name, title, result, settings, facts), "utf-8")
    data = {
        "v": 1,
        "suite": name,
        "title": title,
        "facts": facts,
        "rounds": settings.rounds,
        "stream_bytes": settings.stream_bytes,
        "aims": [aim.__dict__ | {"met": aim.met} for aim in result.aims],
        "tables": [table.__dict__ for table in result.tables],
        "samples": result.samples,
    }
    (folder / f"{name}.json").write_text(json.dumps(data, indent=1, ensure_ascii=False) + "\n", "utf-8")
    return page


def to_markdown(name: str, title: str, result: SuiteResult, settings: Settings, facts: dict[str, str]) -> str:
    """Return the report as Markdown."""
    lines = [f"# {title}", ""]
    lines += [f"Made by `make bench BENCH_ARGS={name}`: medians of {settings.rounds} interleaved rounds.", ""]
    lines += [f"- {aim}" for aim in result.aims]
    for table in result.tables:
        lines += ["", f"## {table.title}", ""]
        if table.note:
            lines += [table.note, ""]
        lines.append(f"| {' | '.join(table.columns)} |")
        lines.append(f"|{'---:|' * len(table.columns)}")
        lines += [f"| {' | '.join(row)} |" for row in table.rows]
    lines += ["", "## Measured on", ""]
    lines += [f"- {key}: {value}" for key, value in facts.items()]
    return "\n".join(lines) + "\n"


def machine_facts() -> dict[str, str]:
    """Return what a reader needs to judge the figures: processor, system, versions, commit, load."""
    facts = {
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "commit": _commit(),
        "processor": f"{_processor()}, {os.cpu_count()} cores",
        "system": f"{platform.system()} {platform.release()}, {platform.machine()}",
        "Python": f"{platform.python_implementation()} {platform.python_version()}",
        "packages": ", ".join(f"{package} {version(package)}" for package in _PACKAGES),
        "our cipher": _backend(),
        "OpenSSL of `cryptography`": _openssl(),
        "Rust": _output("rustc", "--version"),
    }
    if hasattr(os, "getloadavg"):
        facts["load at the end"] = f"{os.getloadavg()[0]:.1f} over one minute"
    return facts


def _commit() -> str:
    commit = _output("git", "rev-parse", "--short=12", "HEAD")
    changed = _output("git", "status", "--porcelain", "--untracked-files=no", "--", "rust", "python", "benches/rivals")
    return f"{commit}, with uncommitted changes" if changed else commit


def _processor() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text("utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass  # not Linux: the next best answer
    return platform.processor() or "unknown"


def _backend() -> str:
    chosen = backend()
    return f"{chosen.bulk} from {chosen.bulk_from} bytes on, {chosen.small} below" if chosen.bulk_from else chosen.small


def _openssl() -> str:
    from cryptography.hazmat.backends.openssl import backend

    return backend.openssl_version_text()


def _output(*command: str) -> str:
    try:
        return subprocess.run(command, cwd=_ROOT, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
