"""The options that several commands share."""

from __future__ import annotations

import argparse
import os
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    Commands: TypeAlias = argparse._SubParsersAction[argparse.ArgumentParser]  # pyright: ignore[reportPrivateUsage]


def add_store(parser: argparse.ArgumentParser) -> None:
    """Add the option that names the store."""
    parser.add_argument(
        "--store",
        default=os.environ.get("AIORUNS_STORE") or "runs.db",
        metavar="PATH",
        help="path or URL of the store (default: %(default)s; AIORUNS_STORE changes it)",
    )
