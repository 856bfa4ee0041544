# One command for each thing one does here. CI calls the same ones (.ci/run).
# All paths are relative: the checkout may lie in a folder with spaces.

SHELL := /bin/sh
VENV := .venv
PY := $(VENV)/bin/python
STAMP := $(VENV)/.installed
DEMO := manifests/four-providers
BENCH ?=
SLOW ?=

.DEFAULT_GOAL := help
.PHONY: help setup demo test test-slow crash bench generate clean
.PHONY: check check-format check-lint check-types check-floors check-generated check-codes

help:  ## Show this list
	@grep -E '^[a-z-]+:.*## ' Makefile | sed -E 's/^([a-z-]+):.*## (.*)/  make \1|\2/' | while IFS='|' read -r a b; do printf '%-18s %s\n' "$$a" "$$b"; done

setup: $(STAMP)  ## Install into .venv (needs Python >= 3.11); then .venv/bin/callsheet

# The newest suitable interpreter; PYTHON=... chooses another. Each is tried out, because a name on the path may be an empty shim.
$(PY):
	@set -e; found=; \
	if [ -n "$$PYTHON" ]; then set -- "$$PYTHON"; else set -- python3.13 python3.12 python3.11 python3 python; fi; \
	for candidate in "$$@"; do \
	  if "$$candidate" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2])' >/dev/null 2>&1; then found=$$candidate; break; fi; \
	done; \
	if [ -z "$$found" ]; then \
	  echo "Callsheet needs Python 3.11 or newer, and found none (tried: $$*; python3 is: $$(python3 --version 2>&1 | head -n 1))." >&2; \
	  echo "Install one, or name it: make setup PYTHON=/path/to/python3.12" >&2; exit 1; \
	fi; \
	echo "Using $$("$$found" --version)"; \
	rm -rf $(VENV); \
	"$$found" -m venv $(VENV) || { \
	  rm -rf $(VENV); \
	  echo "The venv module does not work; on Debian and Ubuntu: apt-get install python3-venv" >&2; exit 1; \
	}

$(STAMP): pyproject.toml constraints.txt | $(PY)
	$(PY) -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	@touch $(STAMP)

demo: setup  ## Rehearse a campaign through all four providers: no keys, no network, no cost
	rm -rf $(DEMO)/rehearsals
	$(VENV)/bin/callsheet run $(DEMO) --rehearse

test: setup  ## Run the tests (a minute or two)
	$(PY) -m pytest

test-slow: setup  ## Run the slow tests too: crashes, faults, many jobs
	$(PY) -m pytest -m slow $(SLOW)

crash: setup  ## Stop runs at every line and at 200 random moments; a storm of faults over 500 jobs
	$(PY) -m pytest -m "slow or not slow" tests/crash tests/chaos

check: check-format check-lint check-types check-floors check-generated check-codes  ## Format, lint, types, floors, generated files, error codes
check-format: setup
	$(PY) -m ruff format --check .
check-lint: setup
	$(PY) -m ruff check .
check-types: setup
	$(PY) -m mypy
	$(PY) -m mypy tests/people/conftest.py
check-floors: setup
	$(VENV)/bin/lint-imports
check-generated: setup
	$(PY) -m runner.generated --check
check-codes: setup
	$(PY) -m pytest tests/providers/test_provider_verdicts.py

bench: setup  ## Measure; BENCH="start plan" chooses
	$(PY) tests/bench/bench.py $(BENCH)

generate: setup  ## Write the generated files again: schema, provider reference, life-cycle diagram
	$(PY) -m runner.generated

clean:  ## Remove what setup, tests and rehearsals made; never runs/
	rm -rf $(VENV) build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis
	rm -rf manifests/*/rehearsals
	find runner tests -name __pycache__ -type d -prune -exec rm -rf {} +
