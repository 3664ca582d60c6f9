# Every target does its own set-up: with Python 3.11 or later, make and git, `make demo` and `make test` need no other
# step. `make` alone lists the targets; the text after ## is their line in that list.

# The first Python from 3.11 on that is found; `make PYTHON=/path/to/python` overrides it.
ifndef PYTHON
PYTHON := $(firstword $(foreach name,python3.11 python3.12 python3.13 python3.14 python3 python,$(shell \
  $(name) -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1 && echo $(name))))
endif
VENV := .venv
BIN := $(VENV)/bin
# uv brings its own certificates unless told; pip uses the machine's, which know a proxy that inspects TLS.
export UV_SYSTEM_CERTS := 1

.DEFAULT_GOAL := help
.PHONY: help setup check lint types prose test demo demo-rag demo-loop clean

help:  ## list the targets
	@awk 'BEGIN {FS = ":.*## "} /^##@/ {printf "\n%s\n", substr($$0, 5)} /^[a-z-]+:.*## / {printf "  %-20s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

# $(call environment,DIR): create a virtual environment where there is none.
environment = @test -n "$(PYTHON)" || { echo "no Python 3.11 or later is on the PATH: install one, or run make PYTHON=/path/to/python"; exit 2; }; \
  test -x $(1)/bin/python || $(PYTHON) -m venv $(1)
# $(call install,DIR,ARGUMENTS): install into an environment.
install = $(1)/bin/python -m pip install --quiet --disable-pip-version-check $(2)
# $(call debian,TEST,PACKAGES): where TEST fails, install Debian's packages as root; other users are told by the tests.
debian = @{ $(1); } >/dev/null 2>&1 || { test "$$(id -u)" = 0 && command -v apt-get >/dev/null \
  && apt-get update -qq && apt-get install -y -qq --no-install-recommends $(2); } || true

##@ Start here

setup: $(VENV)/.ready  ## install the project with its development tools into .venv
$(VENV)/.ready: pyproject.toml
	$(call environment,$(VENV))
	@echo "installing the project and its development tools (about a minute)"
	@$(call install,$(VENV),--editable '.[dev]')
	@touch $@

# The demos need a fifth of the development tools.
$(VENV)/.demo: pyproject.toml
	$(call environment,$(VENV))
	@test -e $(VENV)/.ready || { echo "installing idk and the embedded model's runtime (about a minute)"; \
	  $(call install,$(VENV),--editable '.[demo]'); }
	@touch $@

MODEL ?= 0.5b
demo: $(VENV)/.demo  ## gate a real embedded model, from fitting to a table (MODEL=1.5b for the larger one)
	$(BIN)/idk demo --model $(MODEL)

demo-rag: $(VENV)/.demo  ## the same with passages, conditions and a rescue
	$(BIN)/idk demo-rag --model $(MODEL)

# STORE=redis://127.0.0.1:6379/0 (an empty one) runs two proxies.
demo-loop: setup  ## observe, label, tune, enforce, and an alarm when the model gets worse
	$(BIN)/idk demo-loop --model $(MODEL) $(if $(STORE),--store $(STORE))

clean:  ## remove the environments and caches
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .coverage*

##@ Check a change

# Suites with their own targets, which `make test` leaves out.
SLOW := browser clients api faults e2e/hostile deploy docs attack
# The tests of `make check`: the packages without servers, databases and models.
FAST := tests/calibrators tests/gating tests/test_imports.py tests/test_prose.py tests/proxy/config tests/proxy/records

check: lint types  ## lint, types and fast tests, in under a minute
	$(BIN)/python -m pytest -q $(wildcard $(FAST))

lint: setup  ## ruff: lint and format
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

# The helpers of the tests are typed like the code; programs that run in other environments are not.
HELPERS = $(shell find tests -name '*.py' ! -name 'test_*.py' ! -path 'tests/api/*' ! -path 'tests/benchmarks/*' \
  ! -path 'tests/clients/*' ! -path 'tests/deploy/render.py' ! -path 'tests/deploy/pictures.py')
types: setup  ## mypy, strict
	$(BIN)/mypy
	$(BIN)/mypy --explicit-package-bases $(HELPERS)

prose: setup  ## list prose that does not make sense by itself
	$(BIN)/python -m tests.prose

.PHONY: redis
redis:
	$(call debian,command -v redis-server,redis-server)

# AREA=gating runs one area's tests, without coverage: a folder under tests/, or under tests/proxy/.
test: setup redis  ## lint, types, tests and coverage (AREA=gating: the tests of one area alone)
ifdef AREA
	$(BIN)/python -m pytest $(firstword $(wildcard tests/$(AREA) tests/proxy/$(AREA)) tests/$(AREA))
else
	@$(MAKE) --no-print-directory lint types
	COVERAGE_FILE=$(CURDIR)/.coverage $(BIN)/python -m pytest --cov --cov-report=term $(SLOW:%=--ignore=tests/%)
endif

##@ Slow suites

.PHONY: test-crash test-browser test-clients test-api test-attack test-faults test-hostile fuzz
test-crash: setup redis  ## kill the process 50 times (make test: three times)
	IDK_CRASHES=50 $(BIN)/python -m pytest tests/e2e/test_crash.py

test-browser: setup  ## the admin page and the report in a real Chromium
	$(call debian,command -v chromium,chromium)
	$(BIN)/python -m pytest tests/browser

test-clients: setup  ## real clients, each in its own environment
	$(call debian,command -v npm,nodejs npm)
	$(BIN)/python -m tests.clients.environments
	$(BIN)/python -m pytest tests/clients

# The requests are generated from OpenAI's own document, which is not part of the project: IDK_OPENAPI names it.
test-api: setup $(VENV)/api/.ready  ## requests generated from OpenAI's API document
	$(BIN)/python -m pytest tests/api
$(VENV)/api/.ready: tests/api/tools.txt
	$(call environment,$(VENV)/api)
	@$(call install,$(VENV)/api,-r $<)
	@touch $@

test-attack: setup  ## ways round the gate, generated from tables
	$(BIN)/python -m pytest tests/attack

test-faults: setup redis  ## faults of upstreams, network, store and process
	$(call debian,command -v nginx || test -x /usr/sbin/nginx,nginx-light)
	$(call debian,ls /usr/lib/*/faketime/libfaketimeMT.so.1,libfaketime)
	@rm -f $(VENV)/faults.json
	IDK_RELIABILITY=$(CURDIR)/$(VENV)/faults.json $(BIN)/python -m pytest tests/faults
	$(BIN)/python -m tests.faults.table $(VENV)/faults.json

test-hostile: setup  ## slow, broken, huge and strange requests
	$(BIN)/python -m pytest tests/e2e/hostile

# Inputs that break a property are kept in tests/fuzz/corpus, which `make test` replays.
FUZZ_S ?= 240
fuzz: setup  ## new inputs for FUZZ_S seconds
	$(BIN)/python -m tests.fuzz.run --seconds $(FUZZ_S)

##@ Documentation

.PHONY: docs test-docs picture
docs: setup  ## build the site; a broken link fails
	@$(BIN)/python -c 'import mkdocstrings' 2>/dev/null || $(call install,$(VENV),--editable '.[docs]')
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet

test-docs: docs  ## run every command and snippet of the README and the documentation
	$(call debian,command -v chromium,chromium)
	$(BIN)/python -m pytest tests/docs

RECORDS ?= ../shared/data/generations/qwen2.5-coder-0.5b.jsonl
picture: setup  ## the front page's curve, from graded answers (RECORDS=file)
	$(BIN)/python -m tests.docs.picture $(RECORDS) docs/risk-coverage.svg

##@ Deployment and release

.PHONY: lock audit image-steps test-deploy test-wheel dashboard-pictures sbom scan release
# The tools that build, lock and check the deployment have their own environment.
TOOLS := $(VENV)/deploy
$(TOOLS)/.ready: deploy/tools.txt
	$(call environment,$(TOOLS))
	@$(call install,$(TOOLS),-r $<)
	@touch $@

$(VENV)/audit/.ready: deploy/audit.txt
	$(call environment,$(VENV)/audit)
	@$(call install,$(VENV)/audit,-r $<)
	@touch $@

LOCK := $(TOOLS)/bin/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header
SHIPPED := --extra redis --extra seal pyproject.toml
lock: $(TOOLS)/.ready  ## pin what the image installs, each file by its hash
	$(LOCK) $(SHIPPED) -o deploy/requirements.lock
	$(LOCK) $(SHIPPED) --extra litellm -o deploy/requirements-litellm.lock
	$(LOCK) deploy/build.in -o deploy/build.lock

# Exit status 1: there are advisories. 3: they could not be looked up.
audit: $(VENV)/audit/.ready  ## compare the pinned packages with the published advisories
	@$(VENV)/audit/bin/python -m tests.deploy.audit $(VENV)/audit/bin/pip-audit

image-steps:  ## run the Dockerfile's RUN lines without an engine
	$(PYTHON) -m tests.deploy.image_steps

test-deploy: setup $(TOOLS)/.ready $(VENV)/audit/.ready  ## image, chart, dashboard, alerts and the audit
	$(call debian,command -v promtool,prometheus)
	$(BIN)/python -m pytest tests/deploy
	$(MAKE) image-steps

test-wheel: setup $(TOOLS)/.ready  ## the built wheel in an empty environment
	$(BIN)/python -m pytest tests/deploy/test_wheel.py

dashboard-pictures: setup  ## the dashboard's panels, from a real Prometheus
	$(BIN)/python -m tests.deploy.pictures docs/dashboard.svg

sbom: $(TOOLS)/.ready  ## what the image holds, as CycloneDX
	@mkdir -p dist
	$(TOOLS)/bin/cyclonedx-py requirements deploy/requirements.lock --pyproject pyproject.toml --output-reproducible -o dist/idk.cdx.json

# checkov is heavy and not part of .ci/run. CKV_K8S_11 asks for a CPU limit, which would throttle a proxy under load;
# requests and the autoscaler bound it.
QUIETLY := --quiet --compact --skip-download
scan: $(TOOLS)/.ready  ## checkov on the rendered chart and the Dockerfile
	$(call environment,$(VENV)/checkov)
	@test -x $(VENV)/checkov/bin/checkov || $(call install,$(VENV)/checkov,'checkov>=3,<4')
	rm -rf $(VENV)/rendered && $(TOOLS)/bin/python -m tests.deploy.render $(VENV)/rendered </dev/null
	$(VENV)/checkov/bin/checkov $(QUIETLY) -d $(VENV)/rendered/everything --framework kubernetes --skip-check CKV_K8S_11
	$(VENV)/checkov/bin/checkov $(QUIETLY) -f Dockerfile --framework dockerfile

release: $(TOOLS)/.ready sbom  ## build and check what would be uploaded; uploads nothing
	rm -rf dist/*.whl dist/*.tar.gz
	$(TOOLS)/bin/python -m build --outdir dist .
	$(TOOLS)/bin/twine check --strict dist/*.whl dist/*.tar.gz
	cd dist && sha256sum *.whl *.tar.gz *.cdx.json > SHA256SUMS && cat SHA256SUMS

##@ Measurements (tests/benchmarks)

.PHONY: bench bench-quick bench-agreement bench-calibration bench-drift bench-evaluate bench-forgery bench-grading
.PHONY: bench-hostile
.PHONY: bench-risk bench-samples bench-scale bench-tune soak soak-memory
BENCH = $(BIN)/python -m tests.benchmarks
bench: setup  ## the proxy beside other gateways, into RESULTS.md
	$(BENCH).run
bench-quick: setup  ## the same, shorter
	$(BENCH).run --quick
bench-agreement: setup  ## scorers of samples on real generations
	$(BENCH).bench_agreement
bench-calibration: setup  ## calibrators beside scikit-learn's
	$(BENCH).bench_calibration
bench-drift: setup  ## false alarms and delays of the drift watch
	$(BENCH).bench_drift
bench-evaluate: setup  ## idk evaluate on many questions
	$(BENCH).bench_evaluate
bench-grading: setup  ## the grader against human judgements, into GRADING.md, about ten minutes
	$(BENCH).bench_grading
bench-forgery: setup  ## what forged request fields do to the confidence, on the embedded model, into FORGERY.md
	$(BENCH).bench_forgery
bench-hostile: setup  ## how long hostile requests block the event loop, into tests/HOSTILE.md
	$(BENCH).bench_hostile
bench-risk: setup  ## coverage and false certificates of each threshold rule
	$(BENCH).bench_risk
bench-samples: setup  ## samples and other evidence on the embedded model, about ten minutes
	$(BENCH).bench_samples
# Four replicas behind nginx and a Redis Cluster of three nodes; fails where a promise about replicas was not seen.
bench-scale: setup redis  ## several replicas, into deploy/SCALING.md
	$(BENCH).scale.run
bench-tune: setup  ## idk tune on a million records
	$(BENCH).bench_tune
MINUTES ?= 60
soak: setup  ## MINUTES of everything at once, into SOAK.md
	$(BENCH).soak_hour --minutes $(MINUTES)
soak-memory: setup  ## memory under load
	$(BENCH).soak
