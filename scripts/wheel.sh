#!/bin/sh
# Build the wheel into a folder. On Linux it links with zig, which knows the symbols of an old glibc, so that one
# wheel runs on every distribution of the last ten years. Usage: PY=... BIN=... wheel.sh <folder>
set -eu
out=$1
# Messages of panics name source files; nobody needs to know in which folder of whom they were.
export RUSTFLAGS="${RUSTFLAGS:-} --remap-path-prefix=$HOME=/home --remap-path-prefix=$PWD=/sideband"
if [ "$(uname -s)" = Linux ]; then
  "$PY" -c 'import ziglang' 2>/dev/null || "$PY" -m pip install --quiet --disable-pip-version-check ziglang
  # maturin asks the python on PATH for zig.
  PATH="$(cd "$BIN" && pwd):$PATH" exec "$BIN/maturin" build --release --locked --zig --compatibility manylinux2014 --out "$out"
fi
exec "$BIN/maturin" build --release --locked --out "$out"
