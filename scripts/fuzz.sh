#!/bin/sh
# Run every cargo-fuzz target for FUZZ_SECONDS, starting from the reference vectors.
set -eu

missing() {
  printf 'sideband: %s\n' "$1" >&2
  exit 1
}

command -v cargo >/dev/null 2>&1 || missing "cargo is not on PATH. Install Rust with rustup (https://rustup.rs)."
cargo fuzz --version >/dev/null 2>&1 || missing "cargo-fuzz is not installed. Run: cargo install cargo-fuzz --locked"
cargo +nightly --version >/dev/null 2>&1 ||
  missing "cargo-fuzz needs a nightly toolchain. Run: rustup toolchain install nightly --profile minimal"

cd rust/fuzz
"${PY:-python3}" seed.py
for target in $(cargo +nightly fuzz list --fuzz-dir .); do
  echo "sideband: fuzzing $target for ${FUZZ_SECONDS:-10} s"
  cargo +nightly fuzz run --fuzz-dir . "$target" -- \
    -max_total_time="${FUZZ_SECONDS:-10}" -rss_limit_mb=1024 -timeout=10 -max_len=70000
done
