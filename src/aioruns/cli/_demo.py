"""``aioruns demo``: a real job on real documents, as a run to watch in the terminal and in the dashboard."""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import json
import shlex
import shutil
import signal
import sys
import sysconfig
from collections.abc import Callable, Generator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aioruns import (
    Run,
    RunAlreadyFinished,
    RunConflict,
    RunError,
    RunFilter,
    RunHandle,
    RunManager,
    RunStatus,
)
from aioruns.cli._dashboard import find_dashboard, show_dashboard, somebody_looks
from aioruns.cli._exit import ExitCode, UsageError
from aioruns.cli._options import add_store
from aioruns.cli._terminal import Display, library_warnings, make_display, safe, seconds, show
from aioruns.glossary import GlossaryError, Summary, build_glossary, check_folder, check_output

if TYPE_CHECKING:
    from aioruns.cli._options import Commands

SAMPLES = 5
"""How many entries of the glossary to show at the end."""
REPORTED = 3
"""How many runs of killed demos to report at the start."""
LONGEST_KEY = 400
"""The most characters in a folder's path that becomes part of the key as it is; a longer path is hashed."""


def add_parser(commands: Commands) -> None:
    """Add the command to the parser."""
    parser = commands.add_parser(
        "demo",
        help="build a glossary from real documents, as a run that you can watch, cancel and kill",
        description="Build a glossary from the documents below a folder, and show the run here and in a dashboard. "
        "Press Ctrl-C to cancel the run, or kill the process and start it again to see what became of the run.",
    )
    parser.add_argument(
        "folder",
        nargs="?",
        default=sysconfig.get_path("stdlib"),
        metavar="FOLDER",
        help="where the documents are: .md, .rst, .txt and .py files (default: Python's standard library)",
    )
    add_store(parser)
    parser.add_argument(
        "--output", default=".", metavar="DIR", help="folder for glossary.md and glossary.json (default: this one)"
    )
    parser.add_argument("--no-browser", action="store_true", help="do not open the dashboard in a web browser")
    parser.set_defaults(command=run_demo)


def run_demo(options: argparse.Namespace) -> int:
    """Carry out the command.

    Raises:
        UsageError: There is nothing to read or nowhere to write, or rich is missing; no run was started.
        RunError: The run could not be started or watched.
    """
    store: str = options.store
    try:
        folder, output = check_folder(options.folder), check_output(options.output)
    except GlossaryError as error:
        raise UsageError(str(error)) from None
    display = make_display()
    try:
        run = asyncio.run(_watch(store, folder, output, display, browser=not options.no_browser))
    except RunConflict as conflict:
        where = f"run {conflict.active_run_id}, kept in {store}"
        print(safe(f"aioruns: {where}, is building the glossary of {folder}; wait until it has ended"), file=sys.stderr)
        return ExitCode.CONFLICT
    return ExitCode.DONE if run.status is RunStatus.COMPLETED else ExitCode.FAILED


async def _watch(store: str, folder: Path, output: Path, display: Display, *, browser: bool) -> Run:
    """Start the run and show it until it has ended. If this is cancelled, the closing manager ends the run."""
    serve_beside = find_dashboard()
    async with RunManager(store, jobs=[build_glossary]) as manager, serve_beside(manager) as dashboard:
        await _report_interrupted(manager, display)
        call = build_glossary(str(folder), str(output))
        handle = await manager.start_run(call, key=_key_of(folder), triggered_by="cli")
        try:
            display.line(f"run {handle.id} builds the glossary of {folder}; Ctrl-C cancels it")
            show_dashboard(dashboard, handle.id, display, browser=browser)
            with display, library_warnings(display), _cancelled_by_interrupt(handle, display):
                async for event in handle.events():
                    show(display, event)
                run = await handle.wait()
        except BrokenPipeError:
            with suppress(RunError):
                await handle.cancel(reason="nobody reads the output any more")
            raise
        _report(run, await handle if run.status is RunStatus.COMPLETED else None, display)
        display.line(_where_to_look(store, run))
        if dashboard and somebody_looks():
            await _until_interrupted(display)
        return run


def _key_of(folder: Path) -> str:
    """Return the key of a folder's run. Keys are short and printable, which a path need not be."""
    path = str(folder)
    if len(path) > LONGEST_KEY or not path.isprintable():
        path = hashlib.sha256(path.encode("utf-8", "surrogatepass")).hexdigest()
    return f"glossary:{path}"


async def _report_interrupted(manager: RunManager, display: Display) -> None:
    """Report the runs that killed demos left behind, unless a later run has read their folder."""
    interrupted = await manager.list_runs(RunFilter(status="interrupted", job=build_glossary.name))
    left: list[Run] = []
    for run in interrupted:
        latest = await manager.get_current_or_latest_run(run.key) if run.key else run
        if latest is None or latest.id == run.id:
            left.append(run)
    for run in left[:REPORTED]:
        noticed = f", noticed at {run.finished_at.astimezone():%Y-%m-%d %H:%M:%S}" if run.finished_at else ""
        display.line(f"run {run.id} was interrupted: {run.error}{noticed}", style="yellow")
    if len(left) > REPORTED:
        display.line(f"and {len(left) - REPORTED} more runs were interrupted", style="yellow")


@contextmanager
def _cancelled_by_interrupt(handle: RunHandle[Any], display: Display) -> Generator[None]:
    """Let Ctrl-C ask the run to end, once."""
    asked: list[asyncio.Task[None]] = []

    async def cancel() -> None:
        try:
            await handle.cancel(reason="Ctrl-C")
        except RunAlreadyFinished:
            pass  # The display is about to show its end.
        except RunError as error:
            display.line(f"the run could not be cancelled: {error}", style="red")

    def interrupted() -> None:
        if asked:
            display.line("still cancelling: the run has not ended yet", style="yellow")
        else:
            display.line("cancelling…", style="yellow")
            asked.append(asyncio.get_running_loop().create_task(cancel()))

    with _on_interrupt(interrupted):
        yield


async def _until_interrupted(display: Display) -> None:
    """Keep the dashboard open until Ctrl-C."""
    stop = asyncio.Event()
    with _on_interrupt(stop.set):
        display.line("The dashboard stays open until you press Ctrl-C")
        await stop.wait()


@contextmanager
def _on_interrupt(callback: Callable[[], None]) -> Generator[None]:
    """Call back on the event loop instead of raising KeyboardInterrupt."""
    loop = asyncio.get_running_loop()
    try:
        loop.add_signal_handler(signal.SIGINT, callback)
    except NotImplementedError:  # Windows

        def handler(number: int, frame: object) -> None:
            loop.call_soon_threadsafe(callback)

        before = signal.signal(signal.SIGINT, handler)
        try:
            yield
        finally:
            signal.signal(signal.SIGINT, before)
    else:
        try:
            yield
        finally:
            loop.remove_signal_handler(signal.SIGINT)


def _report(run: Run, summary: Summary | None, display: Display) -> None:
    """Show how the run ended and what it made."""
    took = ""
    if run.started_at is not None and run.finished_at is not None:
        took = f" after {seconds((run.finished_at - run.started_at).total_seconds())}"
    if summary is None:
        detail = f": {run.error}" if run.error else ""
        display.line(f"run {run.id} {run.status.value}{took}{detail}", style="red")
        return
    display.line(f"run {run.id} {run.status.value}{took}", style="green")
    display.line(f"{summary.terms} terms from {summary.documents} documents, {summary.dropped} dropped in review")
    for term, definition in _samples(Path(summary.json_file)):
        display.line(f"  {term}: {definition}")
    display.line(f"The glossary: {summary.markdown_file}")
    display.line(f"          and {summary.json_file}")


def _samples(file: Path) -> list[tuple[str, str]]:
    """Choose entries that show well: terms of several words first, in the order of their score."""
    try:
        entries: list[dict[str, Any]] = json.loads(file.read_text("utf-8"))["entries"]
    except (OSError, ValueError):  # Somebody has replaced the file since.
        return []
    entries.sort(key=lambda entry: (" " not in entry["term"], len(entry["definition"]) > 150, -entry["score"]))
    return [(entry["term"], entry["definition"]) for entry in entries[:SAMPLES]]


def _where_to_look(store: str, run: Run) -> str:
    """Tell how to read the row of the run."""
    if "://" in store:
        return f"Run {run.id} is kept in {store}"
    if store == ":memory:":
        return f"Run {run.id} was kept in memory and is gone"
    tool = "sqlite3" if shutil.which("sqlite3") or sys.version_info < (3, 12) else "python -m sqlite3"
    query = f"select * from runs where id = {run.id}"  # noqa: S608 - a number, in a text that is only shown
    return f'Look at the run: {tool} {shlex.quote(store)} "{query}"'
