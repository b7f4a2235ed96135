# The few words a newcomer types. `make help` lists them. Each target makes what it needs in .venv by itself.
#
#   make demo PYTHON=python3.13          another interpreter for a .venv that does not exist yet
#   make test PYTEST_ARGS="-k relay -x"  more words for pytest

SHELL := /bin/sh
.DEFAULT_GOAL := help
.NOTPARALLEL:
.DELETE_ON_ERROR:

VENV := .venv
ifeq ($(OS),Windows_NT)
BIN := $(VENV)/Scripts
PY := $(BIN)/python.exe
else
BIN := $(VENV)/bin
PY := $(BIN)/python
endif

# rustup's installer puts cargo here and asks for a new login shell; a CI runner never opens one.
export PATH := $(PATH):$(HOME)/.cargo/bin
# One interpreter for every cargo command, so that none of them rebuilds what another has built.
export PYO3_PYTHON := $(CURDIR)/$(PY)

PYTEST_ARGS ?=
BENCH_ARGS ?=
FUZZ_SECONDS ?= 10
DEMO_ARGS ?= --size 256MiB

RUST_SOURCES := Cargo.toml Cargo.lock $(shell find rust -name fuzz -prune -o -type f ! -path '*/target/*' -print 2>/dev/null)
PYTHON_SOURCES := $(shell find python/sideband -type f ! -name '*.pyc' ! -name '*.so' ! -name '*.pyd' 2>/dev/null)
PYTHON_CODE := $(wildcard python tests benches examples scripts)

##@ Use

.PHONY: demo
demo: .make/native ## Send a real payload client -> relay -> daemon -> relay -> client and check it (DEMO_ARGS=...)
	@$(PY) -m sideband demo $(DEMO_ARGS)

##@ Check

.PHONY: test
test: lint test-rust test-python ## Everything that needs no server and no root: lints, types, contracts, all tests

.PHONY: test-servers
test-servers: .make/native ## As root on Debian: install and start real servers, run the tests that need them
	@SIDEBAND_PYTHON="$(CURDIR)/$(PY)" sh scripts/test-servers.sh $(PYTEST_ARGS)

.PHONY: soak
soak: .make/native ## The long fault tests
	$(PY) -m pytest -m soak --timeout 3600 $(PYTEST_ARGS)

.PHONY: bench
bench: .make/native ## Compare with the rivals in one run, write benches/reports/ (BENCH_ARGS=--help for more)
	$(PY) -m benches $(BENCH_ARGS)

.PHONY: fuzz
fuzz: .make/venv ## Fuzz every decoder, FUZZ_SECONDS (10) a target; needs cargo-fuzz and a nightly toolchain
	@PY="$(CURDIR)/$(PY)" FUZZ_SECONDS=$(FUZZ_SECONDS) sh scripts/fuzz.sh

.PHONY: conformance
conformance: .make/native ## The WebSocket conformance suite against the relay's protocol and the endpoints'; needs Python 2.7 (PYTHON27=...)
	@PY="$(CURDIR)/$(PY)" PYTHON27="$(PYTHON27)" sh scripts/conformance.sh

.PHONY: lint
lint: lint-rust lint-python ## Formatting, lints, types, stubs, import contracts

.PHONY: lint-rust
lint-rust: .make/venv
	@sh scripts/require.sh rust-lints
	cargo fmt --all --check
	cargo clippy --workspace --all-targets --locked -- -D warnings

.PHONY: lint-python
lint-python: .make/native
	$(PY) -m ruff check $(PYTHON_CODE)
	$(PY) -m ruff format --check $(PYTHON_CODE)
	$(PY) -m mypy
	$(PY) -m mypy.stubtest sideband._native --mypy-config-file pyproject.toml --concise
	$(BIN)/lint-imports --no-cache

.PHONY: test-rust
test-rust: .make/venv
	cargo test --workspace --locked --quiet

.PHONY: test-python
test-python: .make/native
	$(PY) -m pytest -n 2 -m "not servers and not soak" $(PYTEST_ARGS)

##@ Build

.PHONY: docs
docs: .make/native ## The API reference, made from the docstrings, in docs/_build/api
	$(PY) -W error scripts/reference.py docs/_build/api

.PHONY: wheel
wheel: .make/wheel ## A wheel for old glibc (manylinux2014) in dist/, built with zig
	@ls dist/*.whl

.PHONY: lock
lock: .make/native ## Write the versions installed in .venv to constraints.txt
	$(PY) scripts/lock.py > constraints.txt.new
	mv constraints.txt.new constraints.txt

.PHONY: clean
clean: ## Remove everything that make has built, .venv included
	rm -rf .make $(VENV) dist docs/_build target rust/fuzz/target rust/fuzz/artifacts
	rm -rf .hypothesis .mypy_cache .pytest_cache .ruff_cache .import_linter_cache
	rm -f python/sideband/_native*.so python/sideband/_native*.pyd
	find python tests benches -name __pycache__ -prune -exec rm -rf {} +

.PHONY: help
help: ## This list
	@awk 'BEGIN { FS = ":.*## " } \
	  /^##@ / { printf "\n%s\n", substr($$0, 5) } \
	  /^[a-z-]+:.*## / { printf "  make %-14s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

# .venv itself is no target: one that exists is adopted, whoever made it.
.make/venv: pyproject.toml $(wildcard constraints.txt)
	@mkdir -p .make
	@sh scripts/require.sh rust # said now, not after a minute of downloads
	@PYTHON="$(PYTHON)" sh scripts/venv.sh $(VENV) $(PY)
	@touch $@

.make/native: .make/venv $(RUST_SOURCES)
	@sh scripts/require.sh rust
	@echo "sideband: building the native module (about a minute from nothing)"
	@PIP_QUIET=1 $(BIN)/maturin develop --release --locked --quiet
	@touch $@

.make/wheel: .make/venv $(RUST_SOURCES) $(PYTHON_SOURCES) README.md LICENSE scripts/wheel.sh
	@sh scripts/require.sh rust
	@rm -rf dist && mkdir -p dist
	@PY="$(PY)" BIN="$(BIN)" sh scripts/wheel.sh dist
	@touch $@
