"""The pages under docs/operations, command by command, on a machine that is empty but for Debian's packages.

It has a file system and a network of its own (namespaces over overlays), so nothing of it stays. systemd is not
running in there; what stands in for `systemctl` starts a unit's command, the server's as its user and with its
capabilities.
"""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "docs/operations" / name for name in ("install.md", "running.md", "monitoring.md")]
"""In the order of a reader: the later ones speak of the server that the first one set up."""

BLOCK = re.compile(r"^```console\n(.*?)^```$", re.MULTILINE | re.DOTALL)

SYSTEMCTL = r"""#!/bin/sh
set -eu
unit=/etc/systemd/system/sideband.service
setting() { sed -n "s/^$1=//p" "$unit"; }
case "$*" in
  daemon-reload) systemd-analyze verify "$unit" ;;
  "enable --now sideband")
    user=$(setting User)
    install --directory --owner="$user" --group="$(setting Group)" --mode="$(setting StateDirectoryMode)" \
      "/var/lib/$(setting StateDirectory)"
    caps="-all,+$(setting AmbientCapabilities | sed 's/CAP_//' | tr A-Z a-z)"
    # shellcheck disable=SC2046  (the command's words)
    setpriv --reuid "$user" --regid "$(setting Group)" --init-groups --no-new-privs \
      --inh-caps "$caps" --ambient-caps "$caps" --bounding-set "$caps" \
      $(setting ExecStart) >/tmp/server.log 2>&1 &
    ;;
  "--user daemon-reload")
    XDG_RUNTIME_DIR=/tmp systemd-analyze --user verify ~/.config/systemd/user/sideband-daemon.service
    ;;
  "--user enable --now sideband-daemon")
    set -a
    . ~/.config/sideband/daemon.env
    unit=~/.config/systemd/user/sideband-daemon.service
    # shellcheck disable=SC2046,SC2086  (the words of the command and of the options)
    set -- $(setting ExecStart | sed "s,%h,$HOME,; s/ [$].*//") $SIDEBAND_DAEMON_OPTIONS
    "$@" >/tmp/daemon.log 2>&1 &
    ;;
  *) echo "systemctl $*: not known here" >&2; exit 1 ;;
esac
"""

SANDBOX = r"""
set -eu
scratch=$1; folder=$2; script=$3
mount -t tmpfs tmpfs "$scratch"
for path in /etc /opt /usr/local /var; do
  name=$(echo "$path" | tr / _)
  mkdir -p "$scratch/$name/upper" "$scratch/$name/work"
  mount -t overlay overlay -o "lowerdir=$path,upperdir=$scratch/$name/upper,workdir=$scratch/$name/work" "$path"
done
ip link set lo up
echo "127.0.0.1 relay.example.org" >>/etc/hosts
install -m 0755 "$folder/systemctl" /usr/local/sbin/systemctl
# Without a network packages cannot be brought up to date; `make test-servers` has installed them.
echo 'APT::Get::Upgrade "false";' >/etc/apt/apt.conf.d/99-no-network
cd "$folder"
exec bash "$script"
"""


def commands() -> list[tuple[str, list[str]]]:
    """Return each command of the pages with the output that they show."""
    found: list[tuple[str, list[str]]] = []
    for block in BLOCK.findall("\n".join(page.read_text() for page in PAGES)):
        for line in block.splitlines():
            if line.startswith(("# ", "$ ")):
                found.append((line[2:], []))
            elif found[-1][0].endswith("\\"):
                found[-1] = (found[-1][0] + "\n" + line, [])
            else:
                found[-1][1].append(line)
    return found


def test_no_page_with_commands_is_left_out() -> None:
    assert set(PAGES) == {page for page in PAGES[0].parent.glob("*.md") if BLOCK.search(page.read_text())}


def test_the_pages_have_commands_and_outputs() -> None:
    found = commands()
    assert len(found) > 30
    assert sum(bool(output) for _, output in found) >= 5


@pytest.mark.servers
@pytest.mark.timeout(900)
def test_every_command_does_what_its_page_says(tmp_path: Path) -> None:
    subprocess.run(["make", "wheel"], cwd=ROOT, check=True, capture_output=True)
    [wheel] = (ROOT / "dist").glob("sideband-*.whl")
    subprocess.run(
        # The sandbox has no way out, so what pip will ask for is fetched before, for the distribution's own Python.
        ["/usr/bin/python3", "-m", "venv", tmp_path / "fetch"],
        check=True,
    )
    fetch = [tmp_path / "fetch/bin/pip", "download", "--quiet", "--dest", tmp_path / "wheels", wheel]
    subprocess.run(fetch, check=True)
    folder = tmp_path / "machine"
    folder.mkdir()
    shutil.copy(wheel, folder)
    shutil.copytree(ROOT / "deploy", folder / "deploy")
    (folder / "systemctl").write_text(SYSTEMCTL)
    (tmp_path / "sandbox.sh").write_text(SANDBOX)
    script = tmp_path / "page.sh"
    script.write_text(_script(commands(), tmp_path / "out"))
    (tmp_path / "out").mkdir()
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    environment = {
        "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        "HOME": str(folder),
        "LANG": "C.UTF-8",
        "PIP_NO_INDEX": "1",
        "PIP_FIND_LINKS": str(tmp_path / "wheels"),
        "PIP_DISABLE_PIP_VERSION_CHECK": "1",
    }
    done = subprocess.run(
        [
            *("unshare", "--mount", "--net", "--pid", "--fork", "--kill-child", "--mount-proc"),
            *("sh", tmp_path / "sandbox.sh", scratch, folder, script),
        ],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=600,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    for number, (command, expected) in enumerate(commands()):
        if expected:
            written = (tmp_path / "out" / str(number)).read_text().splitlines()
            patterns = [re.escape(line).replace(r"\.\.\.", ".*") for line in expected]
            assert len(written) == len(expected), (command, written)
            for line, pattern in zip(written, patterns, strict=True):
                assert re.fullmatch(pattern, line), (command, line)


def _script(found: list[tuple[str, list[str]]], out: Path) -> str:
    lines = ["set -e", "trap 'kill $(jobs -p) 2>/dev/null; cat /tmp/server.log 2>/dev/null' EXIT"]
    for number, (command, expected) in enumerate(found):
        lines.append(f"echo {_quoted(command)}")
        lines.append(f"{{ {command}; }} > {out / str(number)}" if expected else command)
    return "\n".join([*lines, "echo done", ""])


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "'\\''") + "'"
