# Every target does its own set-up: on a bare machine with Python 3.11 and make, `make demo` and
# `make test` need no other step.
PYTHON ?= python3.11
VENV := .venv
BIN := $(VENV)/bin
# uv brings certificates of its own unless told; pip goes by the machine's, which know a proxy that looks into TLS.
export UV_SYSTEM_CERTS := 1
STAMP := $(VENV)/.ready

.PHONY: setup test test-crash redis lint types test-browser test-clients test-api test-faults test-hostile fuzz demo demo-rag demo-loop bench bench-quick bench-agreement bench-samples bench-calibration bench-risk bench-drift bench-hostile bench-evaluate bench-tune bench-scale soak soak-memory clean
.PHONY: lock audit image-steps sbom test-deploy test-wheel docs test-docs release picture dashboard-pictures scan

setup: $(STAMP)

$(STAMP): pyproject.toml
	@command -v $(PYTHON) >/dev/null || { echo "$(PYTHON) is not on the PATH: install Python 3.11 or later, or run make PYTHON=python3"; exit 2; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev]'
	@touch $(STAMP)

# $(call installed,TEST,PACKAGES): where TEST fails, root gets Debian's packages; for all others the tests say what to install.
installed = @{ $(1); } >/dev/null 2>&1 || { test "$$(id -u)" = 0 && command -v apt-get >/dev/null \
  && apt-get update -qq && apt-get install -y -qq --no-install-recommends $(2); } || true

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: setup
	$(BIN)/mypy

# The store's tests start real Redis servers; without them they fail and say what to install.
redis:
	$(call installed,command -v redis-server,redis-server)

test: setup redis lint types
	COVERAGE_FILE=$(CURDIR)/.coverage $(BIN)/python -m pytest --cov --cov-report=term --ignore=tests/browser --ignore=tests/clients --ignore=tests/api --ignore=tests/faults --ignore=tests/e2e/hostile --ignore=tests/deploy --ignore=tests/docs

# The same tests that `make test` runs with three kills each.
test-crash: setup redis
	IDK_CRASHES=50 $(BIN)/python -m pytest tests/e2e/test_crash.py

# Debian's chromium is what the pages are looked at with; elsewhere the tests say what to install.
test-browser: setup
	$(call installed,command -v chromium,chromium)
	$(BIN)/python -m pytest tests/browser

# Each real client has an environment of its own, made once.
test-clients: setup
	$(call installed,command -v npm,nodejs npm)
	$(BIN)/python -m tests.clients.environments
	$(BIN)/python -m pytest tests/clients

# What asks by OpenAI's own document, which is not part of the project: IDK_OPENAPI names it.
ASKING := $(VENV)/api
ASKED := $(ASKING)/.ready

$(ASKED): tests/api/tools.txt
	@test -x $(ASKING)/bin/python || $(PYTHON) -m venv $(ASKING)
	$(ASKING)/bin/python -m pip install --quiet --disable-pip-version-check -r tests/api/tools.txt
	@touch $(ASKED)

test-api: setup $(ASKED)
	$(BIN)/python -m pytest tests/api

# Faults of the upstream, the network, the store and the process itself; what was seen goes into a table.
test-faults: setup
	$(call installed,command -v nginx || test -x /usr/sbin/nginx,nginx-light)
	$(call installed,ls /usr/lib/*/faketime/libfaketimeMT.so.1,libfaketime)
	@rm -f $(VENV)/faults.json
	IDK_RELIABILITY=$(CURDIR)/$(VENV)/faults.json $(BIN)/python -m pytest tests/faults
	$(BIN)/python -m tests.faults.table $(VENV)/faults.json

# Slow, broken, huge and strange requests against a real proxy, which must be well after each of them.
test-hostile: setup
	$(BIN)/python -m pytest tests/e2e/hostile

# New inputs for a while; what breaks a property is kept in tests/fuzz/corpus, which `make test` replays.
FUZZ_S ?= 240
fuzz: setup
	$(BIN)/python -m tests.fuzz.run --seconds $(FUZZ_S)

# What builds, locks and checks the deployment has an environment of its own.
TOOLS := $(VENV)/deploy
TOOLED := $(TOOLS)/.ready

$(TOOLED): deploy/tools.txt
	@test -x $(TOOLS)/bin/python || $(PYTHON) -m venv $(TOOLS)
	$(TOOLS)/bin/python -m pip install --quiet --disable-pip-version-check -r deploy/tools.txt
	@touch $(TOOLED)

LOCK := $(TOOLS)/bin/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header
SHIPPED := --extra redis --extra seal pyproject.toml

# What the image installs, every file by its hash.
lock: $(TOOLED)
	$(LOCK) $(SHIPPED) -o deploy/requirements.lock
	$(LOCK) $(SHIPPED) --extra litellm -o deploy/requirements-litellm.lock
	$(LOCK) deploy/build.in -o deploy/build.lock

AUDIT := $(VENV)/audit
AUDITED := $(AUDIT)/.ready

$(AUDITED): deploy/audit.txt
	@test -x $(AUDIT)/bin/python || $(PYTHON) -m venv $(AUDIT)
	$(AUDIT)/bin/python -m pip install --quiet --disable-pip-version-check -r deploy/audit.txt
	@touch $(AUDITED)

# What is pinned, against the published advisories. Error 1: there are some. Error 3: they could not be looked up.
audit: $(AUDITED)
	@$(AUDIT)/bin/python -m tests.deploy.audit $(AUDIT)/bin/pip-audit

# Every RUN line of the Dockerfile, with no engine; the installed size; the health check.
image-steps:
	$(PYTHON) -m tests.deploy.image_steps

# The built wheel in an empty environment.
test-wheel: setup $(TOOLED)
	$(BIN)/python -m pytest tests/deploy/test_wheel.py

# The front page's curve, from graded answers of your own or of the demo's kind.
RECORDS ?= ../shared/data/generations/qwen2.5-coder-0.5b.jsonl
picture: setup
	$(BIN)/python -m tests.docs.picture $(RECORDS) docs/risk-coverage.svg

# The dashboard's panels, from what a real Prometheus answers about some minutes of a real run.
dashboard-pictures: setup
	$(BIN)/python -m tests.deploy.pictures docs/dashboard.svg

# What the image holds, as CycloneDX.
sbom: $(TOOLED)
	@mkdir -p dist
	$(TOOLS)/bin/cyclonedx-py requirements deploy/requirements.lock --pyproject pyproject.toml --output-reproducible -o dist/idk.cdx.json

# Debian's prometheus brings promtool and the server that the dashboard's queries are asked of.
test-deploy: setup $(TOOLED) $(AUDITED)
	$(call installed,command -v promtool,prometheus)
	$(BIN)/python -m pytest tests/deploy
	$(MAKE) image-steps

# The site, strictly: a broken link or a page that is not there fails.
docs: setup
	@$(BIN)/python -c 'import mkdocstrings' 2>/dev/null || $(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[docs]'
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet

# Every command and snippet of README and docs.
test-docs: setup
	$(BIN)/python -m pytest tests/docs

QUIETLY := --quiet --compact --skip-download
# checkov is heavy: an environment of its own, and not in .ci/run. CKV_K8S_11 wants a CPU limit, which would throttle
# a proxy at the moment that it is needed; requests and the autoscaler bound it.
scan: $(TOOLED)
	@test -x $(VENV)/checkov/bin/checkov || { $(PYTHON) -m venv $(VENV)/checkov && $(VENV)/checkov/bin/python -m pip install -q 'checkov>=3,<4'; }
	rm -rf $(VENV)/rendered && $(TOOLS)/bin/python -m tests.deploy.render $(VENV)/rendered </dev/null
	$(VENV)/checkov/bin/checkov $(QUIETLY) -d $(VENV)/rendered/everything --framework kubernetes --skip-check CKV_K8S_11
	$(VENV)/checkov/bin/checkov $(QUIETLY) -f Dockerfile --framework dockerfile

# Builds and checks what would be uploaded, and uploads nothing.
release: $(TOOLED) sbom
	rm -rf dist/*.whl dist/*.tar.gz
	$(TOOLS)/bin/python -m build --outdir dist .
	$(TOOLS)/bin/twine check --strict dist/*.whl dist/*.tar.gz
	cd dist && sha256sum *.whl *.tar.gz *.cdx.json > SHA256SUMS && cat SHA256SUMS

MODEL ?= 0.5b

# The demos need a fifth of what the tests need: a newcomer waits for that alone.
DEMO := $(VENV)/.demo

$(DEMO): pyproject.toml
	@command -v $(PYTHON) >/dev/null || { echo "$(PYTHON) is not on the PATH: install Python 3.11 or later, or run make PYTHON=python3"; exit 2; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@test -e $(STAMP) || $(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[demo]'
	@touch $(DEMO)

demo: $(DEMO)
	$(BIN)/idk demo --model $(MODEL)

demo-rag: $(DEMO)
	$(BIN)/idk demo-rag --model $(MODEL)

# STORE=redis://127.0.0.1:6379/0 (an empty one) runs it on two proxies.
demo-loop: setup
	$(BIN)/idk demo-loop --model $(MODEL) $(if $(STORE),--store $(STORE))

clean:
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .coverage*

bench: setup
	$(BIN)/python -m tests.benchmarks.run

bench-quick: setup
	$(BIN)/python -m tests.benchmarks.run --quick

bench-agreement: setup
	$(BIN)/python -m tests.benchmarks.bench_agreement

# Asks the embedded model, some ten minutes.
bench-samples: setup
	$(BIN)/python -m tests.benchmarks.bench_samples

bench-calibration: setup
	$(BIN)/python -m tests.benchmarks.bench_calibration

bench-risk: setup
	$(BIN)/python -m tests.benchmarks.bench_risk

bench-evaluate: setup
	$(BIN)/python -m tests.benchmarks.bench_evaluate

bench-tune: setup
	$(BIN)/python -m tests.benchmarks.bench_tune

# How long hostile requests keep the loop, into tests/HOSTILE.md.
bench-hostile: setup
	$(BIN)/python -m tests.benchmarks.bench_hostile

bench-drift: setup
	$(BIN)/python -m tests.benchmarks.bench_drift

# Four replicas behind nginx, a Redis Cluster of three nodes; writes deploy/SCALING.md, and fails where what is promised
# of replicas was not seen.
bench-scale: setup redis
	$(BIN)/python -m tests.benchmarks.scale.run

# An hour of everything at once; what was seen goes into tests/benchmarks/SOAK.md.
MINUTES ?= 60
soak: setup
	$(BIN)/python -m tests.benchmarks.soak_hour --minutes $(MINUTES)

# Memory alone, under as many requests as the machine gives.
soak-memory: setup
	$(BIN)/python -m tests.benchmarks.soak
