"""A million log lines: what is stored has no gap, what is dropped is counted, and memory stays where it was."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from tests.bounds import patch_bounds
from tests.load.measure import MIB, resident
from tests.support import eventually, rows

from aioruns import RunManager, current_run, job

pytestmark = [pytest.mark.asyncio, pytest.mark.proof, pytest.mark.timeout(600)]

MEMORY = 64 * MIB
"""More than 10,000 unstored lines take, and far less than a million do."""
_NOTICE = re.compile(r"(\d+) events were dropped: the outbox was full")


@pytest.fixture(autouse=True)
def only_own_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    """A million lines without an await block the event loop, and the line that says so would be among them."""
    patch_bounds(monkeypatch, blocked_after=float("inf"))


class Babbler:
    """A job that logs lines in a loop, ``now and then`` taking a pause; notes how much memory that takes.

    Attributes:
        grown: Bytes by which the process has grown at most, at every thousandth line.
    """

    def __init__(self, lines: int, pause: Callable[[int], Awaitable[object]] | None = None) -> None:
        self.grown = 0
        self._lines = lines
        self._pause = pause
        self._before = resident()
        self.job = job(name="babble")(self._babble)
        self.threaded = job(name="babble in a thread")(self._babble_in_thread)

    def _say(self, number: int) -> None:
        current_run().log("info", str(number))
        if number % 1000 == 0:
            self.grown = max(self.grown, resident() - self._before)

    async def _babble(self) -> None:
        for number in range(self._lines):
            self._say(number)
            if self._pause is not None:
                await self._pause(number)

    def _babble_in_thread(self) -> None:
        for number in range(self._lines):
            self._say(number)


class Stream:
    """What the database holds of a run's log.

    Attributes:
        lines: The numbers that were logged, in order.
        dropped: How many lines are missing, by the stream's own account.
        notices: How often it says so.
        shortfalls: How many lines are missing before each notice since the one before, as the numbers tell.
    """

    def __init__(self, database: Path, run_id: int) -> None:
        self.lines: list[int] = []
        self.dropped = self.notices = 0
        sql = "SELECT seq, kind, json_extract(data, '$.message') AS message FROM events WHERE run_id = ? ORDER BY seq"
        for expected, row in enumerate(rows(database, sql, run_id), 1):
            assert row["seq"] == expected
            if row["kind"] != "log":
                continue
            if notice := _NOTICE.fullmatch(row["message"]):
                self.notices += 1
                self.dropped += int(notice[1])
                # Said where the gap is: everything before it is accounted for.
                assert len(self.lines) + self.dropped >= self.lines[-1] + 1
            elif row["message"].isdecimal():
                self.lines.append(int(row["message"]))

    def check(self, lines: int) -> None:
        """Check that what is stored is in order and, with what is counted as dropped, all that was said."""
        assert self.lines == sorted(set(self.lines))
        assert len(self.lines) + self.dropped == lines


async def run(manager: RunManager, call: Any) -> int:
    handle = await manager.start_run(call)
    assert (await handle.wait()).status == "completed"
    return handle.id


@pytest.fixture
def lines(scale: Callable[..., int], tally: Callable[..., None]) -> int:
    count = scale(quick=20_000, full=1_000_000, soak=20_000_000)
    tally("log lines", count)
    return count


async def test_G10_of_lines_in_a_loop_without_an_await_the_first_are_stored_and_the_others_counted(
    manager: RunManager, database: Path, lines: int
) -> None:
    babbler = Babbler(lines)
    stream = Stream(database, await run(manager, babbler.job()))
    stream.check(lines)
    assert stream.lines == list(range(10_000))
    assert stream.notices == 1
    assert babbler.grown < MEMORY


async def test_G10_of_lines_with_turns_of_the_event_loop_between_all_are_stored_or_counted(
    manager: RunManager, database: Path, lines: int
) -> None:
    async def turn(number: int) -> None:
        if number % 1_000 == 0:
            await asyncio.sleep(0)

    babbler = Babbler(lines, turn)
    stream = Stream(database, await run(manager, babbler.job()))
    stream.check(lines)
    assert len(stream.lines) >= 10_000  # how many more is a matter of the disk
    assert babbler.grown < MEMORY


async def test_G10_of_lines_with_flushes_between_every_one_is_stored(
    manager: RunManager, database: Path, scale: Callable[..., int]
) -> None:
    lines = scale(quick=10_000, full=100_000, soak=1_000_000)

    async def flush(number: int) -> None:
        if number % 5_000 == 0:
            await current_run().flush()

    babbler = Babbler(lines, flush)
    stream = Stream(database, await run(manager, babbler.job()))
    assert stream.lines == list(range(lines))
    assert stream.notices == 0
    assert babbler.grown < MEMORY


async def test_G10_a_def_job_waits_for_the_store_and_every_line_is_stored(
    manager: RunManager, database: Path, scale: Callable[..., int]
) -> None:
    lines = scale(quick=20_000, full=100_000, soak=10_000_000)
    babbler = Babbler(lines)
    stream = Stream(database, await run(manager, babbler.threaded()))
    assert stream.lines == list(range(lines))
    assert stream.notices == 0
    assert babbler.grown < MEMORY


async def test_G10_of_large_lines_in_a_loop_no_more_than_the_limit_is_kept(manager: RunManager, database: Path) -> None:
    """Each is cut to 16 KiB before it is kept, and 8 MiB of those are."""
    text = "x" * 200_000
    before, grown = resident(), 0

    async def work() -> None:
        nonlocal grown
        for _ in range(600):
            current_run().log("info", text)
            grown = max(grown, resident() - before)

    run_id = await run(manager, work())
    (stored,) = rows(
        database, "SELECT count(*) AS lines, sum(length(data)) AS size FROM events WHERE run_id = ?", run_id
    )
    assert 500 <= stored["lines"] < 600
    assert stored["size"] < 9 * MIB
    assert grown < MEMORY


async def test_G10_progress_in_a_loop_without_an_await_is_one_event(
    manager: RunManager, database: Path, scale: Callable[..., int]
) -> None:
    units = scale(quick=20_000, full=200_000, soak=10_000_000)

    async def work() -> None:
        for unit in range(units):
            current_run().set_progress(unit + 1, units)

    run_id = await run(manager, work())
    said = rows(database, "SELECT json_extract(data, '$.current') AS unit FROM events WHERE kind = 'progress'")
    assert [row["unit"] for row in said] == [units]
    assert (await manager.get_run(run_id)).progress is not None


async def test_G10_unstored_events_of_all_runs_together_are_limited(manager: RunManager, database: Path) -> None:
    """Twenty runs with 6 MB each to say, before the event loop turns once: 64 MiB for all of them."""
    line = "x" * 15_000
    gate, entered = asyncio.Event(), 0

    async def work() -> None:
        nonlocal entered
        entered += 1
        await gate.wait()
        for _ in range(400):
            current_run().log("info", line)

    handles = [await manager.start_run(work()) for _ in range(20)]
    await eventually(lambda: entered == 20)
    before = resident()
    gate.set()
    for handle in handles:
        assert (await handle.wait()).status == "completed"
    assert resident() - before < 2 * 64 * MIB
    messages = [
        row["message"] for row in rows(database, "SELECT json_extract(data, '$.message') AS message FROM events")
    ]
    dropped = sum(int(notice[1]) for notice in map(_NOTICE.fullmatch, filter(None, messages)) if notice)
    assert dropped > 0
    assert messages.count(line) + dropped == 20 * 400
