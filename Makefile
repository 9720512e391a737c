# Two commands: `make run` opens the app on the demo studies, `make test` runs every test. Both do their own set-up.
SHELL := /bin/sh
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP_FLAGS := --disable-pip-version-check -q
# One thread a process: the tests run in as many processes as there are cores.
TEST_ENV := OMP_NUM_THREADS=1 QT_QPA_PLATFORM=xcb

.PHONY: run test lint bench shots demo-model clean

run: $(VENV)/.runtime
	$(BIN)/python main.py demo

test: $(VENV)/.dev
	$(TEST_ENV) xvfb-run -a -s "-screen 0 1920x1080x24" $(BIN)/python -m pytest -n 2 --dist loadfile $(ARGS)

lint: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

# Threads that wait for work sleep: spinning ones take the cores from whatever else is being measured.
bench: export OMP_WAIT_POLICY = PASSIVE
bench: $(VENV)/.dev
	@status=0; for script in benchmarks/*.py; do echo "== $$script"; \
	  xvfb-run -a -s "-screen 0 1920x1080x24" $(BIN)/python -m benchmarks.$$(basename $$script .py) || status=1; done; exit $$status

shots: $(VENV)/.dev
	xvfb-run -a -s "-screen 0 1920x1080x24" $(BIN)/python main.py shots --out docs/pictures

$(VENV)/.system: scripts/system_libraries.py
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "Python 3.11 or newer is needed; call make PYTHON=/path/to/python3.11" >&2; exit 5; }
	$(PYTHON) scripts/system_libraries.py
	@mkdir -p $(VENV) && touch $@

$(VENV)/.runtime: $(VENV)/.system pyproject.toml constraints.txt
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "Installing the app and what it needs into $(VENV) (about 7 GB, some minutes the first time)"
	$(BIN)/python -m pip install $(PIP_FLAGS) -c constraints.txt -e .
	@touch $@

$(VENV)/.dev: $(VENV)/.runtime
	$(PYTHON) scripts/system_libraries.py --virtual-display
	$(BIN)/python -m pip install $(PIP_FLAGS) -c constraints.txt -e '.[dev]'
	@touch $@

# Hours on two cores: paints the phantoms, trains, and puts model and reference cohort into resources/.
demo-model: $(VENV)/.runtime
	$(BIN)/python main.py train resources/training/phantom_demo.toml --out out/phantom-demo
	$(BIN)/python -m trainer.ship out/phantom-demo

clean:
	rm -rf $(VENV) out build *.egg-info .pytest_cache .mypy_cache .ruff_cache .import_linter_cache
