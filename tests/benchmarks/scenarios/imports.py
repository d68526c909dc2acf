"""What importing the library costs beside what it stands on, and how many distributions come with it."""

from __future__ import annotations

import resource
import sys
from pathlib import Path
from statistics import median
from typing import Final

from tests.benchmarks.children import call
from tests.benchmarks.scenarios._support import MILLI, Report, main

ROUNDS: Final = 1
ROOT: Final = Path(__file__).resolve().parents[3]
NOTHING: Final = "pass"
OURS: Final = "import aioruns"
BASE: Final = "import aiosqlite, anyio"
DISTRIBUTIONS: Final = (
    "from importlib.metadata import distributions; print(*sorted({each.name for each in distributions()}))"
)


def install(folder: Path) -> Path:
    """Install the library, as users do, into an environment that has nothing; return its interpreter."""
    python = folder / "bin" / "python"
    call((sys.executable, "-m", "venv", "--without-pip", folder), seconds=60)
    call((sys.executable, "-m", "pip", "--python", python, "install", "--quiet", ROOT), seconds=300)
    return python


def printed(python: Path, program: str) -> str:
    """Execute a program, without regard to settings of the shell, and return what it printed."""
    return call((python, "-I", "-c", program), seconds=60)


def seconds(python: Path, statement: str) -> float:
    """Return the seconds of CPU of an interpreter that executes a statement and ends."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    printed(python, statement)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def measure(report: Report, full: bool, folder: Path) -> None:
    """Measure imports, one after the other in turns, net of the interpreter's own start; and what is installed."""
    python = install(folder / "environment")
    took: dict[str, list[float]] = {NOTHING: [], OURS: [], BASE: []}
    for turn in range(31 if full else 16):
        for statement, found in took.items():
            measured = seconds(python, statement)
            if turn:  # the first one may have to compile
                found.append(measured)
    ours, base = (median(took[statement]) - median(took[NOTHING]) for statement in (OURS, BASE))
    for statement, net in ((OURS, ours), (BASE, base)):
        report.figures[f"{statement} (ms)"] = net * MILLI
        report.figures[f"modules, {statement}"] = int(
            printed(python, f"{statement}; import sys; print(len(sys.modules))")
        )
    installed = printed(python, DISTRIBUTIONS).split()
    report.figures["distributions: " + ", ".join(installed)] = len(installed)
    report.at_most("import aioruns, against aiosqlite and anyio", ours / base, 1.5, "times")
    report.at_most("distributions after a plain install, itself included", len(installed), 7, "")


if __name__ == "__main__":
    main(measure, "imports")
