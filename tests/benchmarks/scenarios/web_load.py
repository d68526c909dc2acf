"""200 starts per second over HTTP while 100 streams are read: what a start takes, and whether a stream falls behind."""

from __future__ import annotations

import asyncio
import json
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from fastapi import FastAPI
from tests.benchmarks.scenarios._support import MILLI, Report, main
from tests.benchmarks.scenarios._web import Client, noop, opening, serving
from tests.benchmarks.work import percentile

from aioruns import RunManager, current_run, job
from aioruns.web import runs_router

ENVIRONMENT: Final = "web"
RATE: Final = 200
"""Starts per second."""
TALKERS: Final = 10
READERS: Final = 10
"""Streams of each of them."""
BEAT: Final = 0.1
"""Seconds between two lines of a run that talks."""


@job
async def talk(lines: int) -> None:
    """Say when it is, again and again."""
    for _ in range(lines):
        current_run().log("info", "now", at=time.time())
        await asyncio.sleep(BEAT)


def application(folder: Path) -> FastAPI:
    """Make an application with nothing but the router."""
    manager = RunManager(folder / "runs.db", jobs=[noop, talk])
    app = opening(manager)
    app.include_router(runs_router(manager))
    return app


@dataclass
class Load:
    """Who starts and who reads, and what they have seen.

    Attributes:
        starts: Seconds from the moment at which a start was due to its answer.
        late: Seconds from the moment at which a line was said to its arrival.
        heard: Lines that each stream has received.
    """

    port: int
    starts: list[float] = field(default_factory=list[float])
    late: list[float] = field(default_factory=list[float])
    heard: list[int] = field(default_factory=list[int])
    _idle: list[Client] = field(default_factory=list[Client])

    async def listen(self, run_id: int) -> None:
        """Read the stream of a run to its end."""
        client = await Client.connect(self.port)
        lines = 0
        async for event in client.events(f"/runs/{run_id}/events"):
            if event["kind"] == "log":
                self.late.append(time.time() - event["data"]["fields"]["at"])
                lines += 1
        self.heard.append(lines)
        client.close()

    async def start(self, number: int, due: float) -> None:
        """Start a run over a connection that nobody else uses."""
        client = self._idle.pop() if self._idle else await Client.connect(self.port)
        await client.post("/runs", {"job": "noop", "args": {"number": number}})
        self.starts.append(time.perf_counter() - due)
        self._idle.append(client)

    async def run(self, seconds: float) -> float:
        """Start at a steady rate while streams are read; return how many starts per second were answered."""
        client = await Client.connect(self.port)
        lines = round(seconds / BEAT)
        async with asyncio.TaskGroup() as tasks:
            for _ in range(TALKERS):
                run = json.loads(await client.post("/runs", {"job": "talk", "args": {"lines": lines}}))
                for _ in range(READERS):
                    tasks.create_task(self.listen(run["id"]))
            began = time.perf_counter()
            async with asyncio.TaskGroup() as starting:
                for number in range(int(RATE * seconds)):
                    due = began + number / RATE
                    await asyncio.sleep(max(0.0, due - time.perf_counter()))
                    starting.create_task(self.start(number, due))
            took = max(time.perf_counter() - began, seconds)  # the last start is due before the end
        for each in (client, *self._idle):
            each.close()
        assert self.heard == [lines] * TALKERS * READERS, "a stream has lost a line, or has had one twice"
        return len(self.starts) / took


def measure(report: Report, full: bool, folder: Path) -> None:
    """Measure arrivals that do not wait, each run started over HTTP, ten runs that talk, ten streams of each."""
    with serving(application, folder) as port:
        load = Load(port)
        rate = asyncio.run(load.run(20 if full else 3))
    for percent in (50, 99):
        report.figures[f"start since due p{percent} (ms)"] = percentile(load.starts, percent) * MILLI
        report.figures[f"a line's way to its reader p{percent} (ms)"] = percentile(load.late, percent) * MILLI
    report.figures["lines delivered"] = float(len(load.late))
    streams = f"while {TALKERS * READERS} streams are read"
    report.at_least(f"starts per second answered over HTTP, of {RATE} asked for, {streams}", rate, 0.98 * RATE, "")
    report.at_most(f"a line's way to its reader, the longest of all, {streams}", max(load.late), 1, "s")


if __name__ == "__main__":
    main(measure, "web_load")
