"""The dashboard beside a command: served if the web extra is installed, opened in a browser if a person is watching."""

from __future__ import annotations

import os
import sys
import threading
import webbrowser
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager, nullcontext

from aioruns import RunManager
from aioruns.cli._terminal import Display


def find_dashboard() -> Callable[[RunManager], AbstractAsyncContextManager[str | None]]:
    """Return a function that serves an open manager's dashboard and yields its address, or None without the extra."""
    try:
        from aioruns.web._serve import serve_beside
    except ImportError:
        return lambda _: nullcontext()
    return serve_beside


def show_dashboard(address: str | None, run_id: int, display: Display, *, browser: bool) -> None:
    """Show the address of a run in the dashboard, and open a browser there."""
    if address is None:
        display.line("there is no dashboard: pip install 'aioruns[web]' to see the run in a browser")
        return
    address += f"#/runs/{run_id}"
    display.line(f"watch it at {address}")
    if browser and somebody_looks() and _has_browser():
        # webbrowser.open may return at once, or only when the browser is closed.
        threading.Thread(target=webbrowser.open, args=(address,), name="aioruns-browser", daemon=True).start()


def somebody_looks() -> bool:
    """Tell whether the output goes to a person rather than to a file, a pipe or the log of a build."""
    return sys.stdout.isatty() and not os.environ.get("CI")


def _has_browser() -> bool:
    """Tell whether a browser would have a window; one without would take over the terminal."""
    if os.environ.get("BROWSER") or sys.platform in ("darwin", "win32"):
        return True
    return bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))
