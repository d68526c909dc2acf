"""What machine this is, and what is installed: everything that a figure depends on, beside the code.

Executed as a program, it describes the environment of its interpreter in a line of JSON.
"""

from __future__ import annotations

import datetime
import importlib.metadata
import json
import os
import platform
import re
import sqlite3
from pathlib import Path
from typing import Any


def machine(folder: Path) -> dict[str, str]:
    """Describe this machine, and the file system of a folder."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return {
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "processor": _processor(),
        "cores": str(len(os.sched_getaffinity(0))),
        "memory": f"{memory:.0f} GiB",
        "system": f"{platform.system()} {platform.release()}",
        "file system of the databases": _file_system(folder.resolve()),
    }


def _processor() -> str:
    """Return the name of the processor; the kernel says it better than Python."""
    try:
        names = re.findall(r"^model name\s*:\s*(.+)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    except OSError:
        names = []
    return names[0] if names else platform.processor() or platform.machine()


def _file_system(folder: Path) -> str:
    """Return the type of the file system that is mounted the nearest above a folder."""
    try:
        mounts = [line.split() for line in Path("/proc/mounts").read_text().splitlines()]
    except OSError:
        return "unknown"
    above = [(len(point), kind) for _, point, kind, *_ in mounts if folder.is_relative_to(point)]
    return max(above, key=lambda mount: mount[0], default=(0, "unknown"))[1]


def environment() -> dict[str, Any]:
    """Describe this interpreter and what is installed for it."""
    return {
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "sqlite": sqlite3.sqlite_version,
        "packages": {each.name.lower(): each.version for each in importlib.metadata.distributions()},
    }


if __name__ == "__main__":
    print(json.dumps(environment()))
