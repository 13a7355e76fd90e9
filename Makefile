# Weighbridge: `make up` runs the whole system, `make test` the whole test suite. Both need Python 3.11+ and nothing else.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
PYTHON ?= python3
UV := .tools/uv/bin/uv
RUN := .venv/bin/python
export UV_PYTHON_DOWNLOADS := never
# Many processes start here: without byte code on disk each would compile all that it imports again.
unexport PYTHONDONTWRITEBYTECODE
ARGS ?=
# Side by side: tests wait for servers more than they compute. ARGS="-n 0 …" for one process, to look at a few tests.
PROCESSES ?= 3

.DEFAULT_GOAL := help
.PHONY: help up demo test lint format bench vllm test-vllm test-compiled compiled kafka clean

help:  ## Show this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-10s %s\n", $$1, $$2}'

up: .venv/.installed  ## Run everything, in front of your vLLM (ARGS="--upstream http://127.0.0.1:8000") or the simulator
	@exec $(RUN) -m cli up $(ARGS)

demo: .venv/.installed  ## Send a minute of mixed traffic of three tenants through a running `make up`
	@exec $(RUN) -m cli demo $(ARGS)

test: .venv/.installed-dev  ## Run the whole test suite; what needs a server that is not installed is left out, aloud
	$(RUN) -m pytest -m "not vllm" -n $(PROCESSES) $(ARGS)

lint: .venv/.installed-dev  ## Check style, types and the direction of imports
	.venv/bin/ruff check
	.venv/bin/ruff format --check
	.venv/bin/mypy
	.venv/bin/lint-imports

format: .venv/.installed-dev  ## Format the code and mend what can be mended
	.venv/bin/ruff check --fix
	.venv/bin/ruff format

bench: .venv/.installed-dev .compiled/.made  ## Measure this proxy, compiled, beside nginx and mitmdump (ARGS="--only streams,workers": parts of it); writes docs/benchmarks.md
	$(RUN) -m benchmarks $(ARGS)

vllm: .venv/.installed-dev
	UV=$(CURDIR)/$(UV) tests/vllm/install.sh .venv-vllm

test-compiled: .venv/.installed-dev .compiled/.made  ## Run the tests of the request path on the compiled proxy
	WEIGHBRIDGE_TEST_COMPILED=1 PYTHONPATH=$(CURDIR)/.compiled:$(CURDIR) $(RUN) -P -m pytest -n $(PROCESSES) \
	  -m "not source" $(addprefix tests/proxy/,dialects lane queue slow spool streamed test_compiled.py test_every_transcript.py \
	  test_complaints.py test_exchange.py test_limit_answers.py test_me.py test_reserve.py test_sse.py test_trust.py \
	  test_unary.py) $(ARGS)

test-vllm: vllm  ## Install real vLLM (5 GB) and run the end-to-end test against it
	$(RUN) -m pytest -m vllm $(ARGS)

compiled: .compiled/.made  ## Compile the proxy's request path to C, into .compiled (needs a C compiler)

kafka: .tools/kafka/lib  ## Fetch a real Kafka broker for the tests (needs Maven and a JDK)

clean:  ## Remove what was installed and what `make up` stored
	rm -rf .venv .venv-vllm .tools .weighbridge .compiled

# Two forms of the same environment: with and without the tools of development. The second is a superset of the first.
.venv/.installed: pyproject.toml uv.lock | $(UV)
	@if [ -e .venv/.installed-dev ]; then $(UV) sync --quiet --frozen --python $(PYTHON); \
	else echo "Installing (once) …" && $(UV) sync --quiet --frozen --no-dev --python $(PYTHON); fi
	@touch $@

.venv/.installed-dev: pyproject.toml uv.lock | $(UV)
	@echo "Installing (once) …" && $(UV) sync --quiet --frozen --python $(PYTHON)
	@touch $@ .venv/.installed

.compiled/.made: pyproject.toml uv.lock deploy/compile.sh $(wildcard contracts/*.py proxy/*.py proxy/*/*.py) | $(UV)
	@echo "Compiling the proxy (a minute or two) …" && rm -rf .compiled
	@PATH=$(CURDIR)/.tools/uv/bin:$$PATH PYTHON=$(PYTHON) deploy/compile.sh .compiled/wheel .tools/build
	@$(UV) pip install --quiet --no-deps --python .tools/build/bin/python --target .compiled .compiled/wheel/*.whl
	@touch $@

$(UV): tools/uv.txt
	@$(PYTHON) -c 'import sys; sys.exit("Weighbridge needs Python 3.11 or newer; this is " + sys.version.split()[0] + ". Set PYTHON=…" if sys.version_info < (3, 11) else 0)'
	@$(PYTHON) -m venv .tools/uv && .tools/uv/bin/pip install --quiet --disable-pip-version-check --require-hashes -r tools/uv.txt
	@touch $@

.tools/kafka/lib: tools/kafka.pom.xml
	mvn -q -B -f tools/kafka.pom.xml dependency:copy-dependencies -DoutputDirectory=$(CURDIR)/.tools/kafka/lib
	@touch $@
