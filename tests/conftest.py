"""What every test shares."""

from __future__ import annotations

import contextlib
import faulthandler
from collections.abc import AsyncIterator, Awaitable, Callable, Generator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from _pytest.faulthandler import fault_handler_stderr_fd_key
from hypothesis import HealthCheck, settings
from tests.bounds import patch_bounds
from tests.insides import note_earlier_runs

from aioruns import RunManager

# How long an example takes says something about the machine, and nothing about what is tested.
settings.register_profile("patient", settings(), deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("patient")


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_teardown(item: pytest.Item) -> Generator[None]:
    """Give the clean-up a limit of its own, beyond which the stacks are printed and the process ends.

    pytest-timeout and pytest's faulthandler both let go of a test at its first failure, and what a failed test leaves
    behind is just what makes a clean-up hang.
    """
    faulthandler.dump_traceback_later(300, exit=True, file=item.config.stash[fault_handler_stderr_fd_key])
    try:
        yield
    finally:
        faulthandler.cancel_dump_traceback_later()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Let every report travel between processes, as UTF-8: some tests log text that has no such form."""
    report = yield
    report.sections = [(title, text.encode("utf-8", "backslashreplace").decode()) for title, text in report.sections]
    return report


@pytest.fixture
def database(tmp_path: Path) -> Path:
    """The path of an SQLite file that does not exist yet."""
    return tmp_path / "runs.db"


@pytest.fixture
def quick_close(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let closing wait for functions that do not end for a fraction of a second only."""
    patch_bounds(monkeypatch, close=0.2)


@pytest.fixture
def own_runs() -> None:
    """Let ``active_runs`` count the runs of this test, and not those that an earlier one left to be collected."""
    note_earlier_runs()


@pytest_asyncio.fixture
async def open_manager(database: Path) -> AsyncIterator[Callable[..., Awaitable[RunManager]]]:
    """Open managers on ``database``; they are closed behind the test."""
    async with contextlib.AsyncExitStack() as stack:

        async def open_one(store: object = database, **options: object) -> RunManager:
            options.setdefault("shutdown_grace", 0)
            return await stack.enter_async_context(RunManager(store, **options))  # pyright: ignore[reportArgumentType]

        yield open_one


@pytest_asyncio.fixture
async def manager(open_manager: Callable[..., Awaitable[RunManager]]) -> RunManager:
    """An open manager on ``database``."""
    return await open_manager()


EFFORTS = ("quick", "full", "soak")
FULL_TIMEOUT = 1800
"""Seconds after which a test hangs with ``--effort=full``, where the longest takes a few minutes."""
_tallies = pytest.StashKey[dict[str, int]]()


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--effort",
        choices=EFFORTS,
        default="quick",
        help="how many cases the tests marked `proof` try: quick everywhere, full once in CI, soak for hours",
    )


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Give tests that try more cases more time: those of a soak take hours, so none of them is ended by its time."""
    limit = {"quick": None, "full": FULL_TIMEOUT, "soak": 0}[str(config.getoption("--effort"))]
    if limit is not None:
        for item in items:
            item.add_marker(pytest.mark.timeout(limit), append=False)


@pytest.fixture(scope="session")
def scale(pytestconfig: pytest.Config) -> Callable[..., int]:
    """Choose how many cases are tried: ``scale(quick=100, full=10_000, soak=1_000_000)``."""

    def choose(*, quick: int, full: int, soak: int) -> int:
        return (quick, full, soak)[EFFORTS.index(pytestconfig.getoption("--effort"))]

    return choose


@pytest.fixture(scope="session")
def tally(pytestconfig: pytest.Config) -> Callable[..., None]:
    """Count what was tried, for the end of pytest's report: ``tally("schedules", 10_000)``."""

    def count(what: str, number: int = 1) -> None:
        _count(pytestconfig, what, number)

    return count


def _count(config: pytest.Config, what: str, number: int) -> None:
    counts = config.stash.setdefault(_tallies, {})
    counts[what] = counts.get(what, 0) + number


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Send the counts of a process of pytest-xdist to the one that reports."""
    if (output := getattr(session.config, "workeroutput", None)) is not None:
        output["tallies"] = session.config.stash.get(_tallies, {})


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    """Add up what the processes of pytest-xdist have counted."""
    for what, number in getattr(node, "workeroutput", {}).get("tallies", {}).items():
        _count(node.config, what, number)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    if counts := config.stash.get(_tallies, None):
        terminalreporter.section("what was tried")
        for what, number in counts.items():
            terminalreporter.write_line(f"{number:>12,} {what}")
