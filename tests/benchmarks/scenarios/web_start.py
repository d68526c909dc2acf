"""What `POST /runs` costs over an empty handler that starts the same run."""

from __future__ import annotations

import asyncio
import random
import time
from pathlib import Path
from typing import Any, Final

from fastapi import FastAPI
from tests.benchmarks.scenarios._support import MILLI, Report, main
from tests.benchmarks.scenarios._web import Client, noop, opening, serving
from tests.benchmarks.work import percentile

from aioruns import RunManager
from aioruns.web import runs_router

ENVIRONMENT: Final = "web"
REQUESTS: Final[dict[str, tuple[str, Any]]] = {
    "empty handler": ("/empty", None),
    "empty handler and start_run": ("/started", None),
    "POST /runs": ("/runs", {"job": "noop", "args": {"number": 1}}),
}
PAUSE: Final = 0.003
"""Seconds in which the run before ends, so that its end is not measured."""


def application(folder: Path) -> FastAPI:
    """Make an application with the router, and the handlers that it is compared with."""
    manager = RunManager(folder / "runs.db", jobs=[noop])
    app = opening(manager)
    app.include_router(runs_router(manager))

    async def empty() -> None:
        return

    async def started() -> None:
        await manager.start_run(noop(1))

    app.post("/empty")(empty)
    app.post("/started")(started)
    return app


async def requests(port: int, count: int) -> dict[str, list[float]]:
    """Make each request so often, in an order that is drawn anew each time; return the seconds that each took."""
    client = await Client.connect(port)
    chance = random.Random(count)
    took: dict[str, list[float]] = {name: [] for name in REQUESTS}
    for number in range(-20, count):
        for name in chance.sample(list(REQUESTS), len(REQUESTS)):
            await asyncio.sleep(PAUSE)
            began = time.perf_counter()
            await client.post(*REQUESTS[name])
            if number >= 0:
                took[name].append(time.perf_counter() - began)
    client.close()
    return took


def measure(report: Report, full: bool, folder: Path) -> None:
    """Measure one client that makes one request at a time over one connection."""
    with serving(application, folder) as port:
        took = asyncio.run(requests(port, 2_000 if full else 300))
    for name, seconds in took.items():
        for percent in (50, 99):
            report.figures[f"{name} p{percent} (ms)"] = percentile(seconds, percent) * MILLI
    _, base, post = (percentile(seconds, 50) for seconds in took.values())
    report.at_most("`POST /runs` p50, against an empty handler and `start_run`", post / base, 1.5, "times")


if __name__ == "__main__":
    main(measure, "web_start")
