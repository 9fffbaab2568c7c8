# Thin names for `python3 -m shared.local ...`, which also works where make does not exist.
PYTHON ?= python3
LOCAL := $(PYTHON) -m shared.local
BIN := .venv/bin
LOCK = $(BIN)/uv pip compile -q --universal --python-version 3.11 --generate-hashes --no-header --no-annotate --no-emit-package torch
LITE = --extra api --extra worker --extra postgres --extra traces --extra local

.DEFAULT_GOAL := help
.PHONY: help demo run keys database models calibrate tune eval bench check test-unit test load soak chaos fuzz fuzz-api screenshots lock

##@ Use it
demo:    ## Start everything, make voiceprints of real recordings, compare them, stop
	@$(LOCAL) demo
run:     ## Run the service in the foreground on 127.0.0.1:8000; Ctrl-C stops it
	@$(LOCAL) run
keys:    ## Manage clients, API keys and webhook secrets of make run: make keys ARGS="create NAME"
	@$(LOCAL) keys $(ARGS)
database: ## Migrate the database of make run, back it up, restore it: make database ARGS="backup FOLDER"
	@$(LOCAL) database $(ARGS)
models:  ## Install and calibrate a model: make models MODEL=titanet_large, or FROM=own.nemo or own.onnx [MODEL=name] [ON=manifest.csv]
	@$(LOCAL) models $(MODEL) $(if $(FROM),--from "$(FROM)") $(if $(DESCRIPTOR),--descriptor "$(DESCRIPTOR)") \
		$(if $(ON),--calibrate-on "$(ON)")
calibrate: ## Calibrate an installed model anew: make calibrate [MODEL=ge2e] [ON=manifest.csv of your own recordings]
	@$(LOCAL) calibrate $(if $(MODEL),--model $(MODEL)) $(if $(ON),--on "$(ON)")
tune:    ## Tune a model's diarization on conversations with RTTM files: make tune MANIFEST=manifest.csv [MODEL=ge2e]
	@$(LOCAL) tune $(if $(MANIFEST),"$(MANIFEST)") $(if $(MODEL),--model $(MODEL))

##@ Measure it
eval:    ## Score recordings: make eval MANIFEST=manifest.csv [MODEL=ge2e] [OUT=folder]
	@$(LOCAL) eval $(MANIFEST) $(if $(MODEL),--model $(MODEL)) $(if $(OUT),--out $(OUT))
bench:   ## Time a full-size TitaNet against NeMo: make bench [ARGS="--threads 2 --repeats 5"]
	@$(LOCAL) bench $(ARGS)
load:    ## Measure rates against bare Flask and raw Celery, polling under overload, the cost of a queue: make load
	@$(LOCAL) load
soak:    ## Run a mixed load, and see whether memory or keys grow: make soak [MINUTES=30]
	@$(LOCAL) soak $(if $(MINUTES),--minutes $(MINUTES))

##@ Work on it
check:   ## Lint, formatting, types and import rules; sets up the light `dev` set of packages
	@$(LOCAL) check
test-unit: ## Run the tests that need neither a running service nor NeMo; the `dev` set is enough
	@$(LOCAL) test-unit
test:    ## Run all tests, side by side; T=tests/unit runs some; sets up the `full` set
	@$(LOCAL) test $(T)
chaos:   ## Kill parts of a running service and count what is lost: make chaos [JOBS=1500] [KILLS=60] [SEED=1] [REAL=1]
	@$(LOCAL) chaos $(if $(JOBS),--jobs $(JOBS)) $(if $(KILLS),--kills $(KILLS)) $(if $(SEED),--seed $(SEED)) \
		$(if $(LEASE),--lease $(LEASE)) $(if $(REAL),--real)
fuzz:    ## Decode N damaged files (20000): make fuzz N=500
	@$(LOCAL) fuzz $(or $(N),20000)
fuzz-api: ## Try every operation with N examples (1000) made from the API's own description
	@$(LOCAL) fuzz-api $(or $(N),1000)
screenshots: ## Photograph the page of a running service into api/screenshots
	@$(LOCAL) screenshots
lock:    ## Renew the locked sets of packages from pyproject.toml
	$(LOCK) pyproject.toml $(LITE) --extra dev --extra reference --extra nemo -o requirements-full.lock
	$(LOCK) pyproject.toml $(LITE) -c requirements-full.lock -o requirements-lite.lock
	$(LOCK) pyproject.toml $(LITE) --extra dev -c requirements-full.lock -o requirements-dev.lock
	$(LOCK) pyproject.toml --extra api --extra postgres --extra traces -o api/requirements.lock
	$(LOCK) pyproject.toml --extra worker --extra postgres --extra traces -o worker/requirements.lock

help:
	@awk 'BEGIN {FS = ":.*## "} /^##@/ {printf "\n%s\n", substr($$0, 5)} /^[a-z-]+:.*## / {printf "  make %-10s %s\n", $$1, $$2}' Makefile
