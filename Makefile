# make run    a demo marketplace on http://127.0.0.1:8000, with tokens and a first curl line
# make test   the whole suite; MONGODB_URI=… runs it on that server, ARGS=… goes to pytest
# make lint   style and types
# make bench  the figures of docs/benchmarks.md, on MONGODB_URI
# make acceptance  migrates 100,000 old documents there, kills it three times, and compares; ARGS="--documents 3000"
# Each sets up .venv first, and again only when pyproject.toml or constraints.txt has changed.

PORT ?= 8000
ARGS ?=

.PHONY: run test lint bench acceptance

run: .venv/ready-to-run
	@.venv/bin/confiido serve --port $(PORT) --demo --with-worker

test: .venv/ready-to-test
	.venv/bin/pytest -n 2 $(ARGS)

lint: .venv/ready-to-test
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .
	.venv/bin/mypy --strict confiido_booking api scripts bench

bench: .venv/ready-to-test
	.venv/bin/python -m bench $(ARGS)
	.venv/bin/python -m bench.migration $(if $(ARGS),,--write)
	.venv/bin/python -m bench.webhooks $(if $(ARGS),,--write)
	.venv/bin/python -m bench.workflow $(if $(ARGS),,--write)

acceptance: .venv/ready-to-test
	.venv/bin/python -m bench.migration_acceptance $(ARGS)

.venv/ready-to-run: pyproject.toml constraints.txt scripts/setup
	@scripts/setup api,cli,embedded
	@touch $@

.venv/ready-to-test: pyproject.toml constraints.txt scripts/setup
	@scripts/setup dev
	@touch $@ .venv/ready-to-run
