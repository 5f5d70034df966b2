# The front door. `make help` lists the targets.
PY := .venv/bin/python
RUN ?= $(shell ls -td runs/*/ 2>/dev/null | head -1)
SEED ?= 0
SWEEP ?= geoagent_table3
ARGS ?=
BENCHES := rewards client semantic queueing decoding overlap sweeps launch
SUBMIT := $(PY) -m jobs submit
RETRY := -o Acquire::Retries=3
.DEFAULT_GOAL := help
.PHONY: help setup demo test test-unit lint format lock submit-sft submit-grpo submit-eval submit-sweep images check-images check-image-env bundle cluster-packages cluster-up cluster-down bench bench-agent bench-geocoder bench-metrics bench-prepare bench-rollout bench-sampling $(BENCHES:%=bench-%) test-vllm tensorboard report browser-package container-packages clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-17s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: ## make .venv from the locked requirements (once)
	@./scripts/setup.sh

demo: setup ## the whole pipeline, small: SFT, GRPO, evaluation on this machine [SEED=1]
	@$(SUBMIT) sft grpo eval recipe=demo cluster=local seed=$(SEED) \
	  name=demo-seed$(SEED)-$$(date +%Y%m%d-%H%M%S) $(ARGS)

test: setup ## all tests, two at a time, with coverage
	@$(PY) -m pytest -n 2 --dist loadfile --cov --cov-report=term:skip-covered --durations=10 $(ARGS)

test-unit: setup ## only the tests that take seconds
	@$(PY) -m pytest tests/unit $(ARGS)

lint: setup ## style, types
	@$(PY) -m ruff check . && $(PY) -m ruff format --check . && $(PY) -m mypy

format: setup ## format the code
	@$(PY) -m ruff check --fix . ; $(PY) -m ruff format .

lock: setup ## the .in files of requirements/ and containers/ to locked files with hashes
	@./scripts/lock.sh

submit-sft: setup ## submit SFT [ARGS="recipe=geoagent cluster=slurm name=… key=value …"]
	@$(SUBMIT) sft $(ARGS)

submit-grpo: setup ## submit GRPO, and SFT before it unless the run has it [ARGS=…]
	@$(SUBMIT) grpo $(ARGS)

submit-eval: setup ## submit the evaluation [ARGS=…]
	@$(SUBMIT) eval $(ARGS)

submit-sweep: setup ## submit the points of a sweep, or what is missing [SWEEP=geoagent_table3] [ARGS=…]
	@$(PY) -m jobs sweep $(SWEEP) $(ARGS)

images: setup ## build, sign and describe the images with Apptainer [FORCE=1] [REMOTE=1] [ARGS="--dry-run"]
	@$(PY) scripts/build_images.py $(if $(filter-out no 0 false,$(FORCE)),--force) $(if $(filter-out no 0 false,$(REMOTE)),--remote) $(ARGS)

check-image-env: setup ## try what a lock file names, here, without a container (minutes, 9 GB) [IMAGE=train] [PLACE=.image-env] [KEEP=1]
	@PLACE="$(PLACE)" KEEP="$(KEEP)" ./scripts/check_image_env.sh $(IMAGE)

check-images: setup ## check what the images are made from, without building them
	@$(PY) scripts/check_images.py $(ARGS)

bundle: setup ## pack what a cluster without internet needs [OUT=dist/geoagent-bundle] [ARGS="--wheels train --model DIR …"]
	@$(PY) scripts/bundle.py $(if $(OUT),--out "$(OUT)") $(ARGS)

cluster-packages: setup ## install Slurm, munge and MariaDB for the mini cluster (Debian, as root)
	@$(PY) -m jobs.minicluster packages

cluster-up: setup ## start a real Slurm on this machine, three nodes [ARGS="--nodes 4"]
	@$(PY) -m jobs.minicluster up $(ARGS)

cluster-down: setup ## stop it and its jobs
	@$(PY) -m jobs.minicluster down $(ARGS)

bench-agent: setup ## how well and how fast the demo's agent answers (four minutes) [ARGS="--json FILE"]
	@$(PY) benchmarks/agent.py $(ARGS)

bench-geocoder: setup ## how right and how fast the geocoder is (a minute) [ARGS="--json FILE"]
	@$(PY) benchmarks/geocoder.py $(ARGS)

bench-metrics: setup ## how fast a million predictions become figures (five minutes) [ARGS="--json FILE"]
	@$(PY) benchmarks/metrics.py $(ARGS)

bench-sampling: setup ## how long 20,000 of a million rows take to draw (two minutes) [ARGS="--json FILE"]
	@$(PY) benchmarks/sampling.py $(ARGS)

bench-prepare: setup ## how fast a large dataset is prepared, and in how much memory [ARGS="--rows N"]
	@$(PY) benchmarks/prepare.py $(ARGS)

bench-rollout: setup ## how well rollouts with tools overlap their searches (a minute) [ARGS="--json FILE"]
	@$(PY) benchmarks/rollout.py $(ARGS)

bench: setup ## rewards, agent's client, names, replicas, images, waiting, sweeps, launch: tables, build/bench/*.json, plots (minutes)
	@for name in $(BENCHES); do $(PY) benchmarks/$$name.py --out build/bench || exit; done

$(BENCHES:%=bench-%): bench-%: setup
	@$(PY) benchmarks/$*.py $(ARGS)

test-vllm: setup ## the agent and prediction on vLLM, on the CPU; not in CI (6 GB) [PLACE=.vllm]
	@./scripts/vllm_cpu.sh $(PLACE)

tensorboard: setup ## show a run's curves [RUN=runs/NAME; default: the newest]
	@test -n "$(wildcard $(RUN)/config.yaml $(RUN)/*/config.yaml)" || { echo "error: $(if $(RUN),$(RUN): no such run,no run in runs/ yet); name one: make tensorboard RUN=runs/NAME" >&2; exit 2; }
	@$(PY) -m tensorboard.main --logdir $(RUN) --host 127.0.0.1

report: setup ## make a page of a run to look at [RUN=runs/NAME; default: the newest] [ARGS="--out DIR"]
	@test -n "$(RUN)" || { echo "error: no run in runs/ yet; name one: make report RUN=runs/NAME" >&2; exit 2; }
	@$(PY) -m geoagent.cli report $(RUN) $(ARGS)

browser-package: ## install Chromium, which tests look at the report with (Debian, as root)
	@command -v chromium >/dev/null || { apt-get update -q $(RETRY) && apt-get install -y -q $(RETRY) --no-install-recommends chromium; }

container-packages: ## install Charliecloud, and what tests make an image for it with (Debian, as root)
	@{ command -v ch-run && command -v mksquashfs && command -v debootstrap; } >/dev/null || { apt-get update -q $(RETRY) && apt-get install -y -q $(RETRY) --no-install-recommends charliecloud squashfs-tools debootstrap; }

clean: ## remove the environment and caches, not the runs
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .hypothesis .coverage*
