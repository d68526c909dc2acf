"""Make the events of a run safe for a terminal, and show them live or as plain lines."""

from __future__ import annotations

import logging
import os
import re
import sys
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Protocol, Self

from aioruns import RunEvent
from aioruns.cli._exit import UsageError

if TYPE_CHECKING:
    from rich.console import Console

# Escape sequences as in ECMA-48: ESC with its parameters, and whole strings (OSC, DCS) with their terminators.
_SEQUENCE = re.compile(
    r"(?:\x1b\[|\x9b)[0-?]*[ -/]*[@-~]?|\x1b[\]PX^_][^\x07\x1b\x9c]*(?:\x07|\x1b\\|\x9c)?|\x1b.?", re.DOTALL
)
# Control characters, and those that change the direction of the text after them.
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]+")

_STYLES = {"debug": "dim", "warning": "yellow", "error": "red", "critical": "bold red"}


def safe(text: str) -> str:
    """Return text that only appears on a terminal, in one line, and does nothing else to it."""
    return _CONTROL.sub(" ", _SEQUENCE.sub("", text))


def seconds(duration: float) -> str:
    """Return a duration in words for a reader."""
    minutes, rest = divmod(duration, 60)
    return f"{int(minutes)} min {rest:.0f} s" if minutes else f"{rest:.1f} s"


class Display(Protocol):
    """Shows what happens in a run."""

    def __enter__(self) -> Self: ...

    def __exit__(self, *error: object) -> None: ...

    def line(self, text: str, *, style: str = "") -> None:
        """Make a text safe, and show it as one line."""
        ...

    def progress(self, step: str, current: float, total: float | None, message: str) -> None:
        """Show how far a step has come."""
        ...


def show(display: Display, event: RunEvent) -> None:
    """Show one event of a run."""
    data: Mapping[str, Any] = event.data
    if event.kind == "progress":
        display.progress(data["step"] or "run", data["current"], data["total"], data["message"] or "")
    elif event.kind == "log":
        level = data["level"]
        prefix = "" if level == "info" else f"{level}: "
        display.line(f"{prefix}{data['message']}", style=_STYLES.get(level, ""))


@contextmanager
def library_warnings(display: Display) -> Generator[None]:
    """Show warnings of the library itself, such as an unavailable store; a run's own lines arrive as its events."""
    handler = _Lines(display)
    logger = logging.getLogger("aioruns")
    logger.addHandler(handler)
    try:
        yield
    finally:
        logger.removeHandler(handler)


class _Lines(logging.Handler):
    def __init__(self, display: Display) -> None:
        super().__init__(logging.WARNING)
        self._display = display

    def emit(self, record: logging.LogRecord) -> None:
        if not record.name.startswith("aioruns.run"):
            self._display.line(record.getMessage(), style="yellow")


def make_display() -> Display:
    """Return the display that suits the output: a terminal, or a file or pipe.

    Raises:
        UsageError: rich is not installed.
    """
    try:
        from rich.console import Console
    except ImportError:
        raise UsageError("this command needs rich: pip install 'aioruns[cli]'") from None
    console = Console(highlight=False, markup=False, emoji=False)
    plain = not sys.stdout.isatty() or os.environ.get("NO_COLOR") or console.is_dumb_terminal
    return PlainDisplay() if plain else LiveDisplay(console)


class PlainDisplay:
    """Prints lines without control codes, for pipes, files and ``NO_COLOR``; a step prints one at each quarter."""

    def __init__(self) -> None:
        self._shown: dict[str, int] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        pass

    def line(self, text: str, *, style: str = "") -> None:
        """Print one line without delay, so that a reader of the pipe is up to date."""
        encoding = sys.stdout.encoding or "utf-8"
        print(safe(text).encode(encoding, "replace").decode(encoding), flush=True)

    def progress(self, step: str, current: float, total: float | None, message: str) -> None:
        """Print a line when a step begins and at each quarter of it."""
        quarter = int(4 * current / total) if total else 0
        if quarter > self._shown.get(step, -1):
            self._shown[step] = quarter
            self.line(f"{step}: {current:g} of {total:g}" if total is not None else f"{step}: {current:g}")


class LiveDisplay:
    """Draws a bar for each step below the lines, with rich."""

    def __init__(self, console: Console) -> None:
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

        self._console = console
        self._bars = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("{task.fields[message]}", markup=False, style="dim"),
            console=console,
        )
        self._tasks: dict[str, Any] = {}

    def __enter__(self) -> Self:
        self._bars.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._bars.stop()

    def line(self, text: str, *, style: str = "") -> None:
        """Print one line above the bars."""
        self._console.print(safe(text), style=style, soft_wrap=True)

    def progress(self, step: str, current: float, total: float | None, message: str) -> None:
        """Move the bar of a step; a new step stops the clocks of the others."""
        if step not in self._tasks:
            for task in self._tasks.values():
                self._bars.stop_task(task)
                self._bars.update(task, message="")
            self._tasks[step] = self._bars.add_task(safe(step), total=total, message="")
        self._bars.update(self._tasks[step], completed=current, total=total, message=safe(message)[:60])
