# Each target does its own set-up: it needs git, make and a Python 3.11 or newer, nothing more.

PYTHON ?=
ARGS ?=

# Without a PATH, Python cannot find itself.
export PATH := $(or $(PATH),/usr/local/bin:/usr/bin:/bin)

VENV := .venv
PIP := $(VENV)/bin/python -m pip -qq --disable-pip-version-check --no-input
CANDIDATES := $(if $(PYTHON),$(PYTHON),python3.14 python3.13 python3.12 python3.11 python3)

# A virtual environment works only where it was made, and while its Python is there.
USABLE := $(shell [ "$$(cat $(VENV)/.place 2>/dev/null)" = "$$(pwd -P)" ] && \
	$(VENV)/bin/python -c '' 2>/dev/null && echo yes)
STALE := $(if $(USABLE),,remake)

# The demo is content with a small installation, and uses the full one if it is there.
DEMO := $(if $(and $(USABLE),$(wildcard $(VENV)/.installed-dev)),dev,embedded)

.DEFAULT_GOAL := help
.PHONY: help demo test test-quick test-two lint bench bench-smoke bench-history bench-hypertables chaos clean remake

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-17s %s\n", $$1, $$2 }' Makefile

demo: $(VENV)/.installed-$(DEMO) ## See it work, on a PostgreSQL of its own
	@$(VENV)/bin/tidemill demo $(ARGS)

test: $(VENV)/.installed-dev ## Run the tests (ARGS='-k name --pg 18' passes more)
	@$(VENV)/bin/pytest -n 3 $(ARGS)

test-quick: $(VENV)/.installed-dev ## Run a sample of the tests, in under a minute
	@$(VENV)/bin/pytest -n 2 --quick $(ARGS)

test-two: $(VENV)/.installed-dev ## Run the tests that run a worker with two workers at once
	@$(VENV)/bin/pytest -n 2 --two $(ARGS)

lint: $(VENV)/.installed-dev ## Check style and types
	$(VENV)/bin/ruff check
	$(VENV)/bin/ruff format --check
	$(VENV)/bin/mypy

bench: $(VENV)/.installed-dev ## Measure it beside its peers (ONLY=throughput PEERS=pgqueuer JOBS= ROUNDS= ARGS=--publish)
	@$(VENV)/bin/python -m bench $(if $(ONLY),--only $(ONLY)) $(if $(PEERS),--peers $(PEERS)) \
		$(if $(JOBS),--jobs $(JOBS)) $(if $(ROUNDS),--rounds $(ROUNDS)) $(ARGS)

bench-smoke: $(VENV)/.installed-dev ## Measure a short throughput, without peers
	@$(VENV)/bin/python -m bench --smoke

bench-history: $(VENV)/.installed-dev ## Time pages of history with millions of finished jobs (JOBS=10000000)
	@$(VENV)/bin/python -m bench.history_pages $(if $(JOBS),--jobs $(JOBS))

bench-hypertables: $(VENV)/.installed-dev ## Measure hypertables beside plain tables (ROWS=1000000 ARGS=--publish)
	@$(VENV)/bin/python -m bench.hypertables $(if $(ROWS),--rows $(ROWS)) $(ARGS)

chaos: $(VENV)/.installed-dev ## Break things around it under load (ONLY=kill9,crash SHORT=1 PEERS=none PROCESSES=2 ROUNDS= ARGS=--publish)
	@$(VENV)/bin/python -m chaos $(if $(ONLY),--only $(ONLY)) $(if $(SHORT),--short) \
		$(if $(PEERS),--peers $(PEERS)) $(if $(PROCESSES),--processes $(PROCESSES)) \
		$(if $(ROUNDS),--rounds $(ROUNDS)) $(ARGS)

clean: ## Remove everything that make has made
	rm -rf $(VENV) .tidemill .hypothesis .mypy_cache .pytest_cache .ruff_cache build dist bench/out chaos/out
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(VENV)/.installed-%: pyproject.toml $(STALE)
	@[ -n "$(USABLE)" ] || { $(create_venv); }
	@echo "Installing Tidemill with its '$*' extra into $(VENV) (the first time takes a minute) ..."
	@$(PIP) install --editable '.[$*]'
	@touch $@

# Some Pythons on the PATH exist but do not run, or lack venv: the first one that works is used.
define create_venv
	for python in $(CANDIDATES); do \
		if "$$python" -c 'import ensurepip, sys, venv; sys.exit(sys.version_info < (3, 11))' \
			>/dev/null 2>&1; then \
			echo "Creating $(VENV) with $$("$$python" --version) ..."; \
			rm -rf $(VENV) && "$$python" -m venv $(VENV) && pwd -P >$(VENV)/.place; \
			exit; \
		fi; \
	done; \
	echo "Tidemill needs Python 3.11 or newer with its venv module, and none of these is one:" \
		"$(CANDIDATES). Install it, or name it: make PYTHON=/path/to/python" >&2; \
	exit 1
endef
