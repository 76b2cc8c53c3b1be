# A person's habits. Everything lives in .venv; nothing but Python (3.11 or newer), make and git is needed before.
PYTHON ?= python3
BIN := .venv/bin

.PHONY: demo docs test soak ha lint types bench figures conformance agent-eval mutants commands picture browser screenshots serve
.DEFAULT_GOAL := demo

demo: .venv/ready       ## the main job, before your eyes, into demo-output/
	@$(BIN)/sora-ledger demo --out demo-output

test: .venv/ready browser ## every test
	$(BIN)/pytest --numprocesses auto --dist worksteal

soak: .venv/ready       ## the tests that take minutes, not seconds
	$(BIN)/pytest -m soak --numprocesses auto --timeout 7200
	$(BIN)/pytest -m "hypothesis and not soak" --hypothesis-profile random --numprocesses auto --timeout 1800

ha: .venv/ready         ## PostgreSQL under Patroni loses its leader 20 times; needs etcd, takes a quarter of an hour
	@$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --require-hashes --upgrade --target .venv/ha --requirement tests/outside/patroni.lock
	HA_ROUNDS=20 $(BIN)/pytest -m soak tests/outside/test_patroni.py --numprocesses 0 --capture no --timeout 7200

lint: .venv/ready       ## ruff, all rules, and its formatter
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: .venv/ready      ## mypy, strict
	$(BIN)/mypy

bench: .venv/ready      ## ratios against named peers, alternating in one run; ends with a table of goals
	$(BIN)/python benchmarks/run_all.py

figures: .venv/ready    ## the structure in figures: import chains, short modules, what is silenced, hops of four walks; a minute
	@$(BIN)/python benchmarks/figures.py
	@$(BIN)/python benchmarks/hops.py

conformance: .venv/ready ## what strangers wrote, and the real LiteLLM proxy; fetched from PyPI and npm, takes two minutes
	tests/conformance/run all

agent-eval: .venv/ready ## mistakes of agents, replayed through every door: billed once, and led to the right call; no model
	$(BIN)/python -m tests.agents.evaluate

mutants: .venv/ready    ## which changes of the product no test notices; most of an hour
	@$(BIN)/pip install --quiet --disable-pip-version-check --require-hashes --requirement tests/mutation/requirements.lock
	$(BIN)/python tests/mutation/run.py

browser: .venv/ready    ## the Chromium of the console's tests: finds it, or installs Debian's where it may
	@$(BIN)/python tools/browser.py

commands: .venv/ready   ## docs/commands.md, docs/reference.md and the tables of the agent skill, from the code
	$(BIN)/python tools/commands.py
	$(BIN)/python tools/skill.py
	$(BIN)/python tools/reference.py

docs: .venv/ready       ## the documentation site, into docs-output/site; its generator is fetched from PyPI once
	@test -x .venv/docs/bin/zensical || $(PYTHON) -m venv .venv/docs
	@.venv/docs/bin/pip install --quiet --disable-pip-version-check --require-hashes --requirement docs/site/requirements.lock
	$(BIN)/python -m tools.docs

picture: .venv/ready    ## docs/picture.svg, from what the commands of README.md print
	$(BIN)/python tools/picture.py

screenshots: .venv/ready browser ## docs/images/console-*.png, from the ledger that the demo makes; takes a minute or two
	$(BIN)/python -m tools.screenshots

serve: .venv/ready      ## the sandbox server, until Ctrl-C
	$(BIN)/sora-ledger sandbox --port 8765 --data sandbox-data

.venv/ready: requirements-dev.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed, this is " + sys.version.split()[0] + "; name another: make PYTHON=python3.12")'
	@echo "setting up .venv (once) ..."
	@$(PYTHON) -m venv .venv
	@$(BIN)/pip install --quiet --disable-pip-version-check --require-hashes --requirement requirements-dev.lock
	@$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $@
