#!/bin/sh
# Say in one sentence what is missing, before a tool says it in fifty.
set -eu

missing() {
  printf 'sideband: %s\n' "$1" >&2
  exit 1
}

require_rust() {
  command -v cargo >/dev/null 2>&1 ||
    missing "cargo is not on PATH. Install Rust with rustup (https://rustup.rs), open a new shell, and run make again."
  for compiler in "${CC:-}" cc gcc clang cl; do
    if [ -n "$compiler" ] && command -v "${compiler%% *}" >/dev/null 2>&1; then
      return
    fi
  done
  missing "there is no C compiler, which Rust needs to link. On Debian: apt-get install gcc libc6-dev; on macOS: xcode-select --install."
}

require_rust_lints() {
  require_rust
  cargo fmt --version >/dev/null 2>&1 || missing "rustfmt is not installed. Run: rustup component add rustfmt"
  cargo clippy --version >/dev/null 2>&1 || missing "clippy is not installed. Run: rustup component add clippy"
}

case "$1" in
  rust) require_rust ;;
  rust-lints) require_rust_lints ;;
  *) missing "require.sh knows rust and rust-lints, not $1." ;;
esac
