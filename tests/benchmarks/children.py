"""Programs that print a line of JSON, executed in processes of their own, for a limited time."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tests.benchmarks.contestants import ROOT


class ChildFailed(Exception):
    """A program died, took too long, or printed something else; the message says which, in a line."""


def call(command: Sequence[str | Path], *, seconds: float, folder: Path | None = None) -> str:
    """Execute a program from the top of the repository and return what it printed.

    Args:
        command: The program and its arguments.
        seconds: After which it is killed, with every process that it has started.
        folder: Where it makes its temporary files.

    Raises:
        ChildFailed: It could not be executed, or its exit code is not 0, or it took too long.
    """
    environment: Mapping[str, str] = os.environ if folder is None else {**os.environ, "TMPDIR": str(folder)}
    try:
        child = subprocess.Popen(
            [str(word) for word in command],
            cwd=ROOT,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
    except OSError as error:
        raise ChildFailed(str(error)) from error
    with child:
        try:
            out, err = child.communicate(timeout=seconds)
        except subprocess.TimeoutExpired:
            raise ChildFailed(f"it was not ready after {seconds:g} s") from None
        finally:
            _kill(child)
    if child.returncode:
        raise ChildFailed(_last_line(err) or f"exit code {child.returncode}")
    return out


def call_for_json(command: Sequence[str | Path], *, seconds: float, folder: Path | None = None) -> dict[str, Any]:
    """Execute a program, as ``call`` does, and decode the last line that it printed."""
    line = _last_line(call(command, seconds=seconds, folder=folder))
    try:
        return json.loads(line)
    except ValueError:
        raise ChildFailed(f"it printed no JSON: {line!r}") from None


def _kill(child: subprocess.Popen[str]) -> None:
    """End the session of a child, which it led: what it has left behind would disturb whoever is measured next."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(child.pid, signal.SIGKILL)


def _last_line(text: str) -> str:
    """Return the last line that says something, shortened, without the name of this checkout."""
    lines = [line for line in text.splitlines() if line.strip()] or [""]
    return lines[-1].replace(f"{ROOT}{os.sep}", "")
