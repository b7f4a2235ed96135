#!/bin/sh
# Make the virtual environment, or adopt the one that is there, and install what pyproject.toml asks for.
# Usage: PYTHON=<interpreter or empty> venv.sh <folder> <its python>
set -eu
venv=$1
python=$2

new_enough() {
  "$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1
}

find_python() {
  if [ -n "${PYTHON:-}" ]; then
    new_enough "$PYTHON" && { echo "$PYTHON"; return; }
    printf 'sideband: PYTHON=%s is not a Python of version 3.11 or newer.\n' "$PYTHON" >&2
    return 1
  fi
  # A name on PATH may be a version manager's shim for a version that is not active, so each is run.
  for candidate in python3 python3.14 python3.13 python3.12 python3.11 python; do
    new_enough "$candidate" && { echo "$candidate"; return; }
  done
  found=$(python3 --version 2>/dev/null || echo 'no python3 at all')
  printf 'sideband: Python 3.11 or newer is needed, and PATH has %s. Install one, or name it: make PYTHON=/path/to/python3.12\n' "$found" >&2
  return 1
}

if [ ! -x "$python" ]; then
  base=$(find_python)
  "$base" -c 'import ensurepip, venv' 2>/dev/null || {
    printf 'sideband: %s has no venv module. On Debian: apt-get install python3-venv\n' "$base" >&2
    exit 1
  }
  echo "sideband: making $venv with $("$base" --version)"
  "$base" -m venv "$venv"
elif ! new_enough "$python"; then
  printf 'sideband: %s holds %s, and 3.11 or newer is needed. Run: make clean\n' "$venv" "$("$python" --version)" >&2
  exit 1
fi

set -- --quiet --disable-pip-version-check
[ -f constraints.txt ] && set -- "$@" --constraint constraints.txt
# Dependency groups (PEP 735) need pip 25.1.
"$python" -m pip --version | grep -Eq '^pip (2[6-9]|[3-9][0-9]|25\.[1-9])' ||
  "$python" -m pip install --quiet --disable-pip-version-check --upgrade 'pip>=25.1'
"$python" scripts/dependencies.py >.make/dependencies.txt
"$python" -m pip install "$@" --requirement .make/dependencies.txt --group dev
