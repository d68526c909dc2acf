"""Virtual environments, one for each peer, made once and kept as long as their requirements stay the same."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Final

from tests.benchmarks.children import call
from tests.benchmarks.contestants import ENVIRONMENTS

MAKING: Final = 600
"""Seconds after which making an environment is given up."""

PythonOf = Callable[[str], Path]
"""Gives the interpreter of an environment by its name; raises ``ChildFailed`` if it cannot be made."""


def running(_name: str) -> Path:
    """Take the environment of this interpreter for everybody."""
    return Path(sys.executable)


def made_in(folder: Path) -> PythonOf:
    """Make environments in a folder when they are asked for."""

    def python_of(name: str) -> Path:
        return _make(folder / name, ENVIRONMENTS[name])

    return python_of


def _make(environment: Path, requirements: tuple[str, ...]) -> Path:
    python = environment / ("Scripts/python.exe" if sys.platform == "win32" else "bin/python")
    noted = environment / "requirements.txt"
    wanted = "\n".join((sys.version, *requirements))
    if python.exists() and noted.exists() and noted.read_text() == wanted:
        return python
    print(f"making the environment {environment.name}", flush=True)
    shutil.rmtree(environment, ignore_errors=True)
    if uv := shutil.which("uv"):
        call((uv, "venv", "--quiet", "--python", sys.executable, environment), seconds=MAKING)
        call((uv, "pip", "install", "--quiet", "--python", python, *requirements), seconds=MAKING)
    else:
        call((sys.executable, "-m", "venv", environment), seconds=MAKING)
        call((python, "-m", "pip", "install", "--quiet", *requirements), seconds=MAKING)
    noted.write_text(wanted)  # last, so that an environment that is not complete is made again
    return python
