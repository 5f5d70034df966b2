#!/usr/bin/env bash
# requirements/*.in and containers/*.in → locked files with hashes. What is locked stays as it is
# while it still fits. With --check nothing is written: exit code 1 if a lock is not what its .in
# file asks for.
set -euo pipefail
cd "$(dirname "$0")/.."
check=
case $* in
  '') ;;
  --check)
    check=$(mktemp -d)
    trap 'rm -rf "$check"' EXIT
    ;;
  -h | --help)
    cat <<'HELP'
usage: scripts/lock.sh [--check]
Makes the locked files of requirements/ and containers/ from their .in files; what is locked stays
as it is while it still fits. With --check nothing is written, and the exit code is 1 if a lock is
not what its .in file asks for.
HELP
    exit 0
    ;;
  *)
    echo "error: $*: unknown; there is --check (see --help)" >&2
    exit 2
    ;;
esac
stale=()

# lock FILE OPTION… : compile what FILE comes from, with the lock as it is for preference.
lock() {
  local file=$1 out=$1 source=${1%.*}.in
  [[ $file == containers/models.lock ]] && source=requirements/models.txt
  if [[ -n $check ]]; then
    out=$check/${file##*/}
    cp "$file" "$out"
  fi
  # The version as it is written in embedded.txt would be preferred to the CPU's, 2.13.0 to
  # 2.13.0+cpu.
  [[ $file == requirements/* ]] && sed -i -E '/^torch(vision)?==/d' "$out"
  .venv/bin/uv pip compile --quiet --python-version 3.11 --generate-hashes --no-header \
    --no-annotate --no-emit-find-links "${@:2}" "$source" -o "$out"
  [[ $file == requirements/* ]] && without_builds "$out"
  [[ -z $check ]] || cmp -s "$file" "$out" || stale+=("$file")
}

# torch and torchvision come in builds for CPU and for CUDA whose hashes differ; only their
# versions are locked.
without_builds() {
  .venv/bin/python - "$1" <<'PYTHON'
import re
import sys
from pathlib import Path

path = Path(sys.argv[1])
text = path.read_text()
pattern = r"^(torch|torchvision)==([\w.]+)(?:\+\w+)?(?: \\\n    --hash=\S+)+"
path.write_text(re.sub(pattern, r"\1==\2", text, flags=re.M))
PYTHON
}

links=${UV_FIND_LINKS:-${PIP_FIND_LINKS:-}}
UV_FIND_LINKS=${links// /,} lock requirements/embedded.txt

# The images take the published wheels, which are torch's build for CUDA 12.4, and no local ones.
unset UV_FIND_LINKS PIP_FIND_LINKS
ubuntu=(--python-platform x86_64-manylinux_2_35)
lock containers/build.lock "${ubuntu[@]}"
lock containers/train.lock "${ubuntu[@]}"
lock containers/agent.lock "${ubuntu[@]}"
lock containers/models.lock "${ubuntu[@]}" --no-deps
lock containers/flash-attn.lock "${ubuntu[@]}" --no-deps --config-file containers/uv.toml

if ((${#stale[@]})); then
  echo "error: not what the .in file asks for: ${stale[*]}; run: make lock" >&2
  exit 1
fi
