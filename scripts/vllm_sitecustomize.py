"""Copied into the environment of scripts/vllm_cpu.sh as sitecustomize.py: vLLM imports torchvision
in processes of its own too, which have to be mended there as geoagent.compat mends them here."""

from __future__ import annotations

import sys
from typing import Any


class _Mend:
    def find_spec(self, name: str, path: Any = None, target: Any = None) -> None:
        """Before torchvision is imported, unless the project itself sees to it."""
        if name == "torchvision" and "geoagent.compat" not in sys.modules:
            sys.meta_path.remove(self)
            from geoagent.compat import prepare_torch

            prepare_torch()


sys.meta_path.insert(0, _Mend())
