"""What several commands are asked in the same words."""

from __future__ import annotations

import argparse
import os
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    Commands: TypeAlias = argparse._SubParsersAction[argparse.ArgumentParser]  # pyright: ignore[reportPrivateUsage]


def add_store(parser: argparse.ArgumentParser) -> None:
    """Let a command be told which store it works on."""
    parser.add_argument(
        "--store",
        default=os.environ.get("AIORUNS_STORE") or "runs.db",
        metavar="PATH",
        help="file or URL that keeps the runs (default: %(default)s, unless AIORUNS_STORE names another)",
    )
