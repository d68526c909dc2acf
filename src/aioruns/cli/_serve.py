"""``aioruns serve``: serve the dashboard and the HTTP API of a store until somebody stops it."""

from __future__ import annotations

import argparse
import asyncio
import importlib
import logging
import os
import sys
from collections.abc import Generator, Iterable
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, cast

from aioruns import Job, RunManager
from aioruns.cli._exit import ExitCode, UsageError
from aioruns.cli._options import add_store
from aioruns.cli._terminal import safe

if TYPE_CHECKING:
    from aioruns.cli._options import Commands


def add_parser(commands: Commands) -> None:
    """Add the command to the parser."""
    parser = commands.add_parser(
        "serve",
        help="serve the dashboard and the HTTP API of a store",
        description="Serve the dashboard and the HTTP API of a store, beside other processes that use it. The printed "
        "address contains the token that the server demands; AIORUNS_TOKEN sets it. Ctrl-C stops the server.",
    )
    add_store(parser)
    parser.add_argument(
        "--host", default="127.0.0.1", metavar="ADDRESS", help="address to listen at (default: %(default)s)"
    )
    parser.add_argument(
        "--port", type=int, default=8000, metavar="PORT", help="port to listen at; 0 for any (default: %(default)s)"
    )
    parser.add_argument(
        "--jobs",
        nargs="+",
        action="extend",
        default=[],
        metavar="MODULE",
        help="modules whose jobs the server may start; it executes them in its own process",
    )
    parser.add_argument(
        "--allowed-host",
        action="append",
        metavar="NAME",
        help="name by which clients address the server, such as that of a proxy; may be repeated",
    )
    parser.set_defaults(command=run_serve)


def run_serve(options: argparse.Namespace) -> int:
    """Carry out the command.

    Raises:
        UsageError: The web extra is missing, or a module of ``--jobs`` is missing or has no jobs.
        RunError: The server cannot open the store or listen at the address.
    """
    try:
        from aioruns.web import serve
    except ImportError:
        raise UsageError("this command needs FastAPI and uvicorn: pip install 'aioruns[web]'") from None
    manager = RunManager(options.store, jobs=load_jobs(options.jobs))
    with _log_to_stderr():
        asyncio.run(
            serve(
                manager,
                host=options.host,
                port=options.port,
                token=os.environ.get("AIORUNS_TOKEN"),
                allowed_hosts=options.allowed_host,
            )
        )
    return ExitCode.DONE


def load_jobs(names: Iterable[str]) -> list[Job[..., Any]]:
    """Import modules, also from the current folder, and collect the jobs in their namespaces.

    Raises:
        UsageError: A module is missing, or has no jobs.
    """
    if "" not in sys.path:
        sys.path.insert(0, "")
    jobs: dict[int, Job[..., Any]] = {}  # one job may be imported by several modules
    for name in names:
        found = [cast("Job[..., Any]", value) for value in vars(_import(name)).values() if isinstance(value, Job)]
        if not found:
            raise UsageError(f"{name} has no jobs: it should contain functions declared with @job")
        jobs.update((id(job), job) for job in found)
    return [*jobs.values()]


def _import(name: str) -> object:
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{name}.".startswith(f"{error.name}."):
            raise  # the module itself imports something that is missing
        raise UsageError(f"there is no module {error.name} in this folder or on Python's path") from None
    except (TypeError, ValueError):
        raise UsageError(f"{name!r} is not the name of a module: write package.module") from None


@contextmanager
def _log_to_stderr() -> Generator[None]:
    """Show warnings of the library and the server, such as a rescued run or an unavailable store.

    The dashboard shows what runs log themselves.
    """
    handler = logging.StreamHandler()
    handler.setFormatter(_Lines())
    handler.setLevel(logging.WARNING)
    handler.addFilter(lambda record: not record.name.startswith("aioruns.run"))
    loggers = [logging.getLogger(name) for name in ("aioruns", "uvicorn")]
    for logger in loggers:
        logger.addHandler(handler)
    try:
        yield
    finally:
        for logger in loggers:
            logger.removeHandler(handler)


class _Lines(logging.Formatter):
    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - logging's name
        return f"aioruns: {safe(record.getMessage())}"
