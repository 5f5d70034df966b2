#!/usr/bin/env bash
# requirements/embedded.in → requirements/embedded.txt, with hashes.
set -euo pipefail
cd "$(dirname "$0")/.."
# The version as it is written below would be preferred to the CPU's, 2.13.0 to 2.13.0+cpu.
sed -i -E '/^torch(vision)?==/d' requirements/embedded.txt
links=${UV_FIND_LINKS:-${PIP_FIND_LINKS:-}}
UV_FIND_LINKS=${links// /,} .venv/bin/uv pip compile --quiet --python-version 3.11 \
  --generate-hashes --no-header --no-annotate --no-emit-find-links \
  requirements/embedded.in -o requirements/embedded.txt
# torch and torchvision come in builds for CPU and for CUDA whose hashes differ; only their
# versions are locked.
.venv/bin/python - <<'PYTHON'
import re
from pathlib import Path

path = Path("requirements/embedded.txt")
text = path.read_text()
pattern = r"^(torch|torchvision)==([\w.]+)(?:\+\w+)?(?: \\\n    --hash=\S+)+"
path.write_text(re.sub(pattern, r"\1==\2", text, flags=re.M))
PYTHON
