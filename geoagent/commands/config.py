"""`geoagent config show`"""

from __future__ import annotations

import argparse
from typing import Any

from geoagent.commands.common import command
from geoagent.config import resolve, to_yaml


def _config_show(options: argparse.Namespace) -> int:
    print(to_yaml(resolve(options.words)), end="")
    return 0


def add(commands: Any) -> None:
    group = commands.add_parser("config", help="the configuration")
    parser = command(
        group.add_subparsers(required=True, metavar="COMMAND"),
        "show",
        _config_show,
        "print the resolved configuration as YAML",
        """%(prog)s recipe=demo
        %(prog)s my.yaml grpo.beta=0.01""",
    )
    parser.add_argument("words", nargs="*", metavar="FILE|group=choice|key=value")
