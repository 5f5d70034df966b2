#!/usr/bin/env bash
# Tries what an image's lock file names: see --help. train: what `apptainer test` looks at, then SFT →
# GRPO → evaluation of the tiny model. agent: the same look, then vLLM's server as far as it comes.
set -euo pipefail
cd "$(dirname "$0")/.."
fail() {
  echo "error: $*" >&2
  exit 2
}

image=${1:-train}
case $* in
  '' | train) room=10 ;;
  agent) room=8 ;;
  -h | --help)
    cat <<'HELP'
usage: scripts/check_image_env.sh [train|agent]
Installs what an image's lock file names into an environment that is removed afterwards, and tries
it on this machine, without a container and without a GPU. Needs 10 GB of disk (agent: 8), and
minutes. The exit code is 1 if anything failed.
  PLACE=DIR   where (default: .image-env)
  KEEP=1      leave it there
example: make check-image-env IMAGE=agent PLACE=/scratch/try
HELP
    exit 0
    ;;
  *) fail "$*: no image; train or agent (see --help)" ;;
esac
place=${PLACE:-.image-env}/$image
marker=$place/.made-by-check-image-env
if [[ -e $place && ! -e $marker ]]; then
  fail "$place: is there and was not made by this check; name another by PLACE=DIR"
fi
rm -rf "$place"
made=$(mkdir -p "$place" 2>&1 && touch "$marker" 2>&1) || fail "$place: cannot be made ($made)"
place=$(realpath "$place")
python=$place/env/bin/python
uv=$PWD/.venv/bin/uv
rows=()
failed=0
[[ -n ${KEEP:-} ]] || trap 'rm -rf "$place"; rmdir --ignore-fail-on-non-empty "$(dirname "$place")"' EXIT
free=$(df -k --output=avail "$place" | tail -n 1)
if ((free < room * 1000000)); then
  rm -rf "$place"
  fail "$place: $((free / 1000000)) GB are free, $room are needed; name another place by PLACE=DIR"
fi

# step NAME COMMAND… : run it, keep its output, note how long it took and how it ended.
step() {
  local name=$1 log=$place/${1// /-}.log started=$SECONDS result=ok
  shift
  echo "$name …" >&2
  if ! "$@" > "$log" 2>&1; then
    result=FAILED
    failed=1
    tail -n 15 "$log" >&2
  fi
  rows+=("$name|$(((SECONDS - started) / 60)) min $(((SECONDS - started) % 60)) s|$result")
}

# As in the image: what builds the rest first, nothing without its hash, no wheel of this machine.
install() (
  unset UV_FIND_LINKS PIP_FIND_LINKS
  export DS_BUILD_OPS=0
  add() { "$uv" pip install --quiet --python "$python" --require-hashes "$@"; }
  "$uv" venv --quiet --python .venv/bin/python "$place/env" || return
  add --no-build -r containers/build.lock || return
  add --no-build-isolation -r "containers/$image.lock" || return
  "$uv" pip check --python "$python" || return
  [[ $image == agent ]] || add --no-build --no-deps -r containers/models.lock
)

# Nothing of this machine's other environments, and no GPU, so that the result is the same anywhere.
within() { PYTHONPATH=$PWD PATH="$place/env/bin:$PATH" CUDA_VISIBLE_DEVICES='' HF_HUB_OFFLINE=1 "$@"; }

train() {
  within "$python" -m jobs submit sft grpo eval recipe=demo cluster=local name=check \
    "runs_dir=$place/runs" data.scenes_per_country=4 sft.max_steps=4 sft.batch_size=2 \
    sft.save_steps=2 grpo.max_steps=2 grpo.batch_size=4 grpo.generations=4 grpo.save_steps=1 \
    grpo.max_completion_length=32 eval.limit=4 eval.max_new_tokens=32
}

# The published vLLM is built for CUDA: without a GPU its server reads its arguments and the model's
# configuration, then finds nothing to run on. Any other end, before or after, is a failure.
serve() {
  mkdir -p "$place/model"
  cat > "$place/model/config.json" <<'JSON'
{"architectures": ["Qwen3ForCausalLM"], "model_type": "qwen3", "hidden_size": 64,
 "intermediate_size": 128, "num_hidden_layers": 1, "num_attention_heads": 2,
 "num_key_value_heads": 2, "head_dim": 32, "vocab_size": 100, "max_position_embeddings": 512,
 "torch_dtype": "bfloat16"}
JSON
  within timeout 300 vllm serve "$place/model" --host 127.0.0.1 --skip-tokenizer-init \
    > "$place/vllm.log" 2>&1 || true
  tail -n 3 "$place/vllm.log"
  grep -q "Failed to infer device type" "$place/vllm.log"
}

step install install
if ((!failed)); then
  [[ $image == train ]] && step "weights for vLLM" within "$python" scripts/check_vllm_names.py
  step "image's test" within "$python" containers/selfcheck.py "$image" --lock "containers/$image.lock"
fi
if ((!failed)); then
  if [[ $image == train ]]; then
    step "SFT, GRPO, evaluation" train
  else
    step "vLLM's server until it wants a GPU" serve
  fi
fi

printf '\n%-36s %-14s %s\n' step time result
for row in "${rows[@]}"; do
  IFS='|' read -r name time result <<< "$row"
  printf '%-36s %-14s %s\n' "$name" "$time" "$result"
done
echo "disk: $(du -sm "$place" | cut -f1) MB"
if [[ -x $python ]]; then
  "$uv" pip list --quiet --python "$python" --format freeze 2>/dev/null |
    grep -E '^(torch|transformers|ms-swift|trl|peft|vllm|xformers|deepspeed|submitit)==' | xargs echo "versions:"
  "$python" -c 'import torch; print("torch:", torch.__version__, "CUDA", torch.version.cuda)'
fi
exit "$failed"
