# `make run` and `make test` do everything on a fresh machine: environment, pinned dependencies, then the work itself.

VENV := .venv
PY := $(VENV)/bin/python
SCHEMA_SOURCES := $(shell find model operators connectors flows -name "*.py")

.PHONY: run test lint format reference bench fuzz lock install uninstall clean

# The default pipeline: virtual meters into the embedded ThingsBoard stand-in. PIPELINE=other.yaml selects another file.
run: $(VENV)/run.stamp pipeline.schema.json
	@store=$$($(PY) -m commands recovery) && exec $(PY) -m bytewax.run flows.main -r "$$store" -s 10 -b 60

test: lint
	$(PY) -m pytest --numprocesses 3 --dist loadfile $(ARGS)

lint: $(VENV)/dev.stamp pipeline.schema.json
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .
	$(PY) -m mypy

format: $(VENV)/dev.stamp
	$(PY) -m ruff check --fix .
	$(PY) -m ruff format .

# docs/pipeline-reference.md, from the settings models.
reference: $(VENV)/run.stamp
	$(PY) -m flows.reference docs/pipeline-reference.md

bench: $(VENV)/dev.stamp
	$(PY) -m bench

# Coverage-guided, for as long as you like: make fuzz SECONDS=3600 TARGET=value; what it learned stays in .fuzz.
fuzz: $(VENV)/fuzz.stamp
	$(PY) -m tests.fuzz --seconds $(or $(SECONDS),60) $(TARGET)

# Pins every dependency with its hashes; the files name no host.
lock: $(VENV)/dev.stamp
	$(PY) -m pip install --quiet uv
	$(PY) -m uv pip compile --quiet --universal --python-version 3.10 --generate-hashes --no-emit-index-url --no-emit-find-links \
		--custom-compile-command "make lock" --output-file requirements.lock pyproject.toml
	$(PY) -m uv pip compile --quiet --universal --python-version 3.10 --generate-hashes --no-emit-index-url --no-emit-find-links \
		--custom-compile-command "make lock" --extra dev --constraint requirements.lock --output-file requirements-dev.lock pyproject.toml
	$(PY) -m uv pip compile --quiet --universal --python-version 3.10 --generate-hashes --no-emit-index-url --no-emit-find-links \
		--custom-compile-command "make lock" --extra dev --extra fuzz --constraint requirements-dev.lock --output-file requirements-fuzz.lock \
		pyproject.toml

# As a service under systemd; as root. DESTDIR, PREFIX, UNITDIR, SYSUSERSDIR and BINDIR are honoured (deploy/places.sh).
# WHEELS=DIR installs the packages from a folder instead of the network; ENVIRONMENT=DIR uses one that exists. To fill a folder:
#   python3 -m pip download --require-hashes --only-binary :all: --requirement requirements.lock --dest wheels
export DESTDIR PREFIX UNITDIR SYSUSERSDIR BINDIR PYTHON WHEELS ENVIRONMENT PURGE

install:
	@deploy/install.sh

# Keeps configuration and state; PURGE=1 removes them too.
uninstall:
	@deploy/uninstall.sh

clean:
	rm -rf $(VENV) pipeline.schema.json .mypy_cache .ruff_cache .pytest_cache .hypothesis

pipeline.schema.json: $(SCHEMA_SOURCES) | $(VENV)/run.stamp
	@$(PY) -m flows.schema $@

$(VENV)/run.stamp: requirements.lock | $(PY)
	$(PY) -m pip install --quiet --disable-pip-version-check --require-hashes --requirement requirements.lock
	@touch $@

$(VENV)/dev.stamp: requirements-dev.lock $(VENV)/run.stamp
	$(PY) -m pip install --quiet --disable-pip-version-check --require-hashes --requirement requirements-dev.lock
	@touch $@

$(VENV)/fuzz.stamp: requirements-fuzz.lock $(VENV)/dev.stamp
	$(PY) -m pip install --quiet --disable-pip-version-check --require-hashes --requirement requirements-fuzz.lock
	@touch $@

# Bytewax has wheels for Python 3.8 to 3.12 and this project needs 3.10: take the first interpreter that fits.
$(PY):
	@for python in $(PYTHON) python3.12 python3.11 python3.10 python3; do \
		if $$python -c 'import sys, venv; sys.exit(not (3, 10) <= sys.version_info[:2] < (3, 13))' >/dev/null 2>&1; then \
			echo "creating $(VENV) with $$($$python --version)"; exec $$python -m venv $(VENV); \
		fi; \
	done; \
	echo "no Python 3.10, 3.11 or 3.12 with the venv module found; on Debian: apt-get install python3-venv;" \
		"or name one: make PYTHON=/path/to/python3.11 run" >&2; exit 1
