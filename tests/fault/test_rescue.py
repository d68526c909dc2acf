"""R3, G7: the runs of a dead process are ended by others, at once and honestly; those of a live one never are."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sqlite3
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path

import pytest
import pytest_asyncio
from tests.fault.programs import Program, Programs, jobs
from tests.support import eventually, from_micros, hold_answer, now_micros

from aioruns import RunConflict, RunEvent, RunInterrupted, RunManager, RunStatus
from aioruns._running.feed import EventFeed
from aioruns._running.rescue import rescue
from aioruns._running.state import ManagerState
from aioruns.abc import Fence, NewEvent, NewRun
from aioruns.stores import SQLiteStore


@pytest_asyncio.fixture
async def programs(tmp_path: Path) -> AsyncIterator[Programs]:
    """Programs of this test; those that are left at its end are ended."""
    async with Programs(tmp_path) as programs:
        yield programs


async def child_of(programs: Programs, run_id: int) -> int:
    """Wait until a run has said which child it made."""
    said = await eventually(lambda: [event for event in programs.stream(run_id) if event["kind"] == "child"])
    return said[0]["pid"]


async def look(programs: Programs) -> None:
    """Look for dead managers: one that opens has done so when it is open."""
    async with RunManager(programs.db):
        pass


# What a dead process leaves behind


async def leave_behind(program: Program) -> dict[str, int]:
    """Have a process that executes two runs at once start one for each active status; return their ids."""
    cancelling = await program.call("start", "hold_on", key="cancelling")
    assert await program.call("cancel", cancelling) == "cancelling"
    running = await program.call("start", "hold", key="running")
    pending = await program.call("start", "hold", key="pending")
    return {"cancelling": cancelling, "running": running, "pending": pending}


@pytest.mark.asyncio
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGSEGV], ids=lambda number: number.name)
async def test_R3_the_runs_of_a_dead_process_are_interrupted_at_the_next_open(
    programs: Programs, open_manager: Callable[[], Awaitable[RunManager]], number: signal.Signals
) -> None:
    victim = await programs.remote(max_running=2)
    left = await leave_behind(victim)
    victim.send_signal(number)
    assert await victim.exits() == -number
    programs.check()
    assert programs.statuses() == {run_id: status for status, run_id in left.items()}

    async with asyncio.timeout(60):
        manager = await open_manager()
        runs = [await manager.get_run(run_id) for run_id in left.values()]
    for run in runs:
        assert run.status == "interrupted"
        assert run.finished_at is not None
        assert run.finished_at >= run.created_at
        assert run.error
        last = programs.stream(run.id)[-1]
        assert (last["kind"], last["status"], last["error"]) == ("status", "interrupted", run.error)
        with pytest.raises(RunInterrupted):
            await manager.get_handle(run.id)
    assert (await manager.get_run(left["pending"])).started_at is None
    for key in left:
        assert await manager.get_active_run(key) is None
        await manager.start_run(jobs.hold(), key=key)
    # Row and lock of the dead are gone; ours go when we do.
    assert len(programs.managers()) == len(programs.locks()) == 1
    assert victim.pid not in programs.managers()
    await manager.aclose()
    programs.check_all_over()


@pytest.mark.asyncio
async def test_R3_of_several_rescuers_one_ends_each_run(programs: Programs) -> None:
    victim = await programs.remote()
    runs = await victim.call("start_many", 50, "hold")
    victim.kill()
    await asyncio.gather(*(programs.remote() for _ in range(3)))
    assert programs.statuses() == {run_id: "interrupted" for _, run_id in runs}
    programs.check()
    assert victim.pid not in programs.managers()
    assert len(programs.locks()) == 3


@contextlib.contextmanager
def write_lock(programs: Programs) -> Iterator[None]:
    """Hold the database's write lock: whoever commits has to wait."""
    with contextlib.closing(sqlite3.connect(programs.db, isolation_level=None)) as connection:
        connection.execute("BEGIN IMMEDIATE")
        yield
        connection.execute("ROLLBACK")


def holds_locks(program: Program) -> int:
    """Count the locks of the kind that managers hold: flock(2)."""
    locks = [line.split() for line in Path("/proc/locks").read_text().splitlines()]
    return sum((kind, pid) == ("FLOCK", str(program.pid)) for _, kind, _, _, pid, *_ in locks)


@pytest.mark.asyncio
@pytest.mark.skipif(not Path("/proc/locks").exists(), reason="only Linux says who holds which lock")
async def test_R3_a_rescuer_that_is_killed_before_it_commits_leaves_the_rescue_to_the_next(programs: Programs) -> None:
    victim, rescuer = await asyncio.gather(programs.remote(max_running=2), programs.remote())
    left = await leave_behind(victim)
    with write_lock(programs):
        victim.kill()
        await eventually(lambda: holds_locks(rescuer) == 2)  # its own, and the victim's
        rescuer.kill()
    assert programs.statuses() == {run_id: status for status, run_id in left.items()}
    await look(programs)
    programs.check_all_over()
    assert programs.statuses() == dict.fromkeys(left.values(), "interrupted")


@pytest.mark.asyncio
@pytest.mark.skipif(not Path("/proc/locks").exists(), reason="only Linux says who holds which lock")
async def test_R3_a_process_that_is_killed_while_it_opens_leaves_nothing_for_good(programs: Programs) -> None:
    await look(programs)  # so that there is a database
    with write_lock(programs):
        victim = programs.run("remote.py")
        await eventually(lambda: holds_locks(victim))
        victim.kill()
    await look(programs)
    programs.check_all_over()


@pytest.mark.asyncio
async def test_G7_a_process_that_is_merely_open_rescues_too_and_its_waiters_get_the_end(programs: Programs) -> None:
    victim = await programs.remote(max_running=2)
    witness = await programs.remote()
    async with RunManager(programs.db) as manager:
        left = await leave_behind(victim)
        waiting = {run_id: asyncio.create_task(manager.wait_run(run_id)) for run_id in left.values()}
        streams = [asyncio.create_task(read_to_end(manager, run_id)) for run_id in left.values()]
        elsewhere = [witness.send("wait", run_id) for run_id in left.values()]
        await asyncio.gather(*(first_of(manager, run_id) for run_id in left.values()))  # by now all of them wait
        victim.kill()
        async with asyncio.timeout(60):  # a look every two seconds
            assert {(await run).status for run in waiting.values()} == {"interrupted"}
            for stream in await asyncio.gather(*streams):
                assert [event.seq for event in stream] == list(range(1, len(stream) + 1))
                assert stream[-1].terminal
            assert [await witness.answer(call) for call in elsewhere] == ["interrupted"] * 3
        await eventually(lambda: len(programs.locks()) == 2)
        assert victim.pid not in programs.managers()
    programs.check()


async def first_of(manager: RunManager, run_id: int) -> RunEvent:
    return await anext(manager.stream_events(run_id))


async def read_to_end(manager: RunManager, run_id: int) -> list[RunEvent]:
    return [event async for event in manager.stream_events(run_id)]


@pytest.mark.asyncio
async def test_R3_a_rescued_run_does_not_end_before_its_last_sign_of_life(database: Path) -> None:
    owner, rescuer = SQLiteStore(database), SQLiteStore(database)
    await owner.open()
    await owner.acquire_lease("owner", at=now_micros())
    new = NewRun(status=RunStatus.RUNNING, job="job", created_at=now_micros(), manager_id="owner", token=1)
    run, _ = await owner.insert_run(new)
    await rescuer.open()
    looking = hold_answer(rescuer._database, "fetch", only_first=True)
    rescuing = asyncio.create_task(rescue(rescuer, EventFeed(rescuer, ManagerState())))
    await looking.reached.wait()
    said = NewEvent(ordinal=1, kind="said", data="1", at=now_micros())
    await owner.append_events(run.id, Fence("owner", 1), [said])
    owner.abandon_lease("owner")  # as if its process had been killed
    looking.open()
    await rescuing
    stored = await rescuer.get_run(run.id)
    await owner.aclose()
    await rescuer.aclose()
    assert stored is not None
    assert stored.finished_at is not None
    assert stored.finished_at >= from_micros(said.at)


# What is not dead


@pytest.mark.asyncio
async def test_R3_the_run_of_another_process_is_untouched_keeps_its_key_and_can_be_cancelled(
    programs: Programs,
) -> None:
    gate, ended = programs.folder / "gate", programs.folder / "ended"
    victim, other = await asyncio.gather(programs.remote(), programs.remote())
    await leave_behind(victim)
    run_id = await other.call("start", "tidy_up", str(gate), str(ended), key="kept")
    victim.kill()

    async with RunManager(programs.db) as manager:
        run = await manager.get_run(run_id)
        assert (run.status, run.error, run.finished_at) == ("running", None, None)
        with pytest.raises(RunConflict) as conflict:
            await manager.start_run(jobs.hold(), key="kept")
        assert conflict.value.active_run_id == run_id

        assert (await manager.cancel_run(run_id, reason="third process")).status == "cancelling"
        await look(programs)
        assert not ended.exists()
        with pytest.raises(RunConflict) as conflict:
            await manager.start_run(jobs.hold(), key="kept")
        assert conflict.value.active_run_id == run_id
        assert (await manager.get_run(run_id)).status == "cancelling"

        gate.touch()
        run = await manager.wait_run(run_id, timeout=60)
        assert ended.exists()  # the function has ended, and before its row
        assert (run.status, run.error, run.cancel_reason) == ("cancelled", None, "third process")
        assert run.finished_at is not None
        assert run.finished_at.timestamp() >= ended.stat().st_mtime - 0.01
        await (await manager.start_run(jobs.answer(str(gate)), key="kept"))
    assert await other.leaves() == 0
    programs.check_all_over()


@pytest.mark.asyncio
async def test_G7_a_frozen_process_is_never_rescued_and_goes_on(programs: Programs) -> None:
    gate = programs.folder / "gate"
    frozen = await programs.remote()
    run_id = await frozen.call("start", "answer", str(gate), key="cold")
    frozen.freeze()
    gate.touch()
    await look(programs)
    async with RunManager(programs.db) as manager:
        with pytest.raises(RunConflict):
            await manager.start_run(jobs.hold(), key="cold")
        assert (await manager.get_run(run_id)).status == "running"
        frozen.send_signal(signal.SIGCONT)
        run = await manager.wait_run(run_id, timeout=60)
    assert (run.status, run.result) == ("completed", {"answer": 42})
    assert await frozen.leaves() == 0
    programs.check_all_over()


@pytest.mark.asyncio
async def test_G7_a_process_whose_event_loop_is_blocked_is_never_rescued(programs: Programs) -> None:
    began, gate = programs.folder / "began", programs.folder / "gate"
    blocked = await programs.remote()
    call = blocked.send("start", "block", str(began), str(gate))
    await eventually(began.exists)
    async with RunManager(programs.db) as manager:
        (run,) = await manager.list_runs()
        await look(programs)
        assert (await manager.get_run(run.id)).status == "running"
        gate.touch()
        run = await manager.wait_run(run.id, timeout=60)
    assert (run.status, run.result) == ("completed", "went on")
    assert await blocked.answer(call) == run.id


# Children


@pytest.mark.asyncio
@pytest.mark.parametrize("how", ["close_fds", "inherit_fds", "fork", "multiprocessing"])
async def test_R3_a_child_that_outlives_its_killed_parent_does_not_keep_it_alive(programs: Programs, how: str) -> None:
    victim = await programs.remote()
    run_id = await victim.call("start", "leave_child", how)
    child = programs.adopt(await child_of(programs, run_id))
    victim.kill()
    await look(programs)
    os.kill(child, 0)  # raises if the child did not live on
    assert programs.statuses() == {run_id: "interrupted"}
    programs.check_all_over()


@pytest.mark.asyncio
@pytest.mark.parametrize("how", ["fork", "multiprocessing"])
async def test_G7_a_child_that_exits_leaves_its_parent_the_lock(programs: Programs, how: str) -> None:
    parent = await programs.remote()
    run_id = await parent.call("start", "outlive_child", how, key="parent")
    await child_of(programs, run_id)
    await look(programs)
    assert programs.statuses() == {run_id: "running"}
    assert await parent.call("cancel", run_id) == "cancelling"
    assert await parent.call("wait", run_id) == "cancelled"
    assert await parent.leaves() == 0
    programs.check_all_over()


@pytest.mark.asyncio
async def test_G7_a_forked_child_that_exits_with_all_its_clean_up_leaves_its_parent_the_lock(
    programs: Programs,
) -> None:
    gate = programs.folder / "gate"
    parent = programs.run("fork_and_exit.py", gate)
    run_id = await parent.says()
    await look(programs)
    assert programs.statuses() == {run_id: "running"}
    gate.touch()
    assert await parent.says() == "completed"
    assert await parent.exits() == 0
    programs.check_all_over()
