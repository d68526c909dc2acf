"""G8, N2: however a program ends, it ends; and nothing that it says about its runs is untrue afterwards."""

from __future__ import annotations

import signal
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
from tests.fault.programs import Program, Programs, jobs
from tests.support import eventually

from aioruns import RunConflict, RunManager

SOON = 60.0
"""Seconds after which a program will not exit any more; what it leaves tells whether its functions have ended."""


@pytest_asyncio.fixture
async def programs(tmp_path: Path) -> AsyncIterator[Programs]:
    """Programs of this test; those that are left at its end are ended."""
    async with Programs(tmp_path) as programs:
        yield programs


async def look(programs: Programs) -> None:
    """Look for dead managers: one that opens has done so when it is open."""
    async with RunManager(programs.db):
        pass


def check_silence(program: Program) -> None:
    """Check that Python found nothing left lying about."""
    for complaint in ("never awaited", "never retrieved", "was destroyed", "unclosed", "deleted before"):
        assert complaint not in program.complaints


# Programs that forget to close


@pytest.mark.asyncio
@pytest.mark.parametrize("flags", [("-W", "always"), ("-X", "dev"), ("-W", "error::ResourceWarning")], ids=" ".join)
@pytest.mark.parametrize(("how", "code"), [("return", 0), ("raise", 1), ("exit", 7), ("wait", -signal.SIGINT)])
async def test_G8_a_program_that_forgets_to_close_exits_and_its_runs_are_interrupted(
    programs: Programs, how: str, code: int, flags: tuple[str, ...]
) -> None:
    program = programs.run("forget_to_close.py", how, flags=flags)
    started = await program.says()
    if how == "wait":
        program.send_signal(signal.SIGINT)
    assert await program.exits(within=SOON) == code
    assert [await program.says() for _ in range(5)] == ["tidied up"] * 5
    programs.check_all_over()
    assert programs.statuses() == dict.fromkeys(started, "interrupted")
    never_began = programs.read("SELECT id FROM runs WHERE started_at IS NULL ORDER BY id")[0]
    assert never_began == [(run_id,) for run_id in started[8:]]
    assert programs.read("SELECT id FROM runs WHERE error IS NULL") == [[]]
    assert "ResourceWarning: a RunManager was n" in program.complaints
    assert ("ValueError: main failed" in program.complaints) == (how == "raise")
    check_silence(program)


@pytest.mark.asyncio
async def test_G8_a_program_is_told_once_that_its_manager_was_not_closed_before_its_event_loop(
    programs: Programs,
) -> None:
    program = programs.run("forget_to_close.py", "return", flags=("-W", "always"))
    assert await program.exits(within=SOON) == 0
    assert program.complaints.count("was not closed before its event loop") == 1


@pytest.mark.asyncio
@pytest.mark.parametrize("how", ["stop", "close"])
async def test_G8_a_program_that_never_tears_its_event_loop_down_exits_and_the_next_open_rescues(
    programs: Programs, how: str
) -> None:
    program = programs.run("forget_to_close.py", how, flags=("-W", "always"))
    started = await program.says()
    assert await program.exits(within=SOON) == 0
    assert "ResourceWarning: a RunManager was never closed" in program.complaints
    assert set(programs.statuses().values()) == {"running", "pending"}
    await look(programs)
    programs.check_all_over()
    assert programs.statuses() == dict.fromkeys(started, "interrupted")


@pytest.mark.asyncio
@pytest.mark.parametrize("when", [0, 1, 3, 10, 30, "registered", "returned"])
async def test_N1_runs_whose_tasks_are_cancelled_before_their_first_step_do_not_stay_active(
    programs: Programs, when: int | str
) -> None:
    program = programs.run("leave_at_once.py", when, flags=("-W", "always"))
    assert await program.exits(within=SOON) == 0
    programs.check_all_over()
    assert set(programs.statuses().values()) <= {"interrupted", "cancelled"}
    assert when != "returned" or len(programs.statuses()) == 100
    check_silence(program)


@pytest.mark.asyncio
@pytest.mark.parametrize("kind", ["coroutine", "thread"])
async def test_N1_a_run_whose_task_is_cancelled_while_it_is_claimed_is_asked_to_end(
    programs: Programs, kind: str
) -> None:
    program = programs.run("leave_at_claim.py", kind, flags=("-W", "always"))
    assert await program.exits(within=SOON) == 0
    programs.check_all_over()
    assert list(programs.statuses().values()) == ["completed", "interrupted"]
    check_silence(program)


@pytest.mark.asyncio
async def test_G8_a_torn_down_manager_starts_no_runs(programs: Programs) -> None:
    program = programs.run("start_late.py", flags=("-W", "always"))
    assert await program.exits(within=SOON) == 0
    programs.check_all_over()
    assert len(programs.statuses()) == 1
    for _ in range(10):
        assert await program.says() == "refused"
    check_silence(program)


@pytest.mark.asyncio
async def test_G8_one_event_loop_after_the_other_leaves_nothing_behind_in_the_process(programs: Programs) -> None:
    program = programs.run("run_again.py", flags=("-W", "always"))
    assert await program.says() == "over"  # and no conflict before
    programs.check_all_over()
    assert list(programs.statuses().values()) == ["interrupted"] * 3
    assert await program.leaves(within=SOON) == 0
    check_silence(program)


# Programs that close


@pytest.mark.asyncio
async def test_G8_ctrl_c_closes_what_is_open(programs: Programs) -> None:
    program = await programs.remote(max_running=2)
    gate, ended = programs.folder / "gate", programs.folder / "ended"
    gate.touch()
    runs = [
        await program.call("start", "hold"),
        await program.call("start", "tidy_up", str(gate), str(ended)),
        await program.call("start", "hold"),
    ]
    program.send_signal(signal.SIGINT)
    assert await program.exits(within=SOON) == -signal.SIGINT
    assert ended.exists()
    programs.check_all_over()
    assert programs.statuses() == dict.fromkeys(runs, "interrupted")


@pytest.mark.asyncio
@pytest.mark.parametrize("how", ["owned", "closing", "closed"])
async def test_G8_a_closing_that_meets_the_teardown_of_its_event_loop_closes_once_and_for_all(
    programs: Programs, how: str
) -> None:
    program = programs.run("close_late.py", how, flags=("-W", "always"))
    assert await program.says(within=SOON) == ["written"]  # logging is captured as ever in the next event loop
    programs.check_all_over()
    assert list(programs.statuses().values()) == ["interrupted", "interrupted", "completed"]
    assert await program.leaves(within=SOON) == 0
    check_silence(program)


# Functions that do not end


async def check_held(programs: Programs, run_id: int) -> None:
    """Check that nobody takes a run away, nor its key, while its function executes."""
    assert programs.statuses() == {run_id: "cancelling"}
    async with RunManager(programs.db) as manager:
        with pytest.raises(RunConflict) as conflict:
            await manager.start_run(jobs.hold(), key="outlasting")
        assert conflict.value.active_run_id == run_id
        assert (await manager.cancel_run(run_id)).status == "cancelling"
    assert programs.statuses() == {run_id: "cancelling"}
    assert len(programs.managers()) == len(programs.locks()) == 1


@pytest.mark.asyncio
@pytest.mark.parametrize(("kind", "function"), [("thread", "in sleep_in_thread"), ("coroutine", "in swallow")])
async def test_G8_N5_a_function_that_outlasts_its_manager_keeps_its_key_until_it_ends(
    programs: Programs, kind: str, function: str
) -> None:
    gate = programs.folder / "gate"
    program = programs.run("outlast.py", kind, gate)
    run_id = await program.says()
    assert await program.says() < SOON
    await check_held(programs, run_id)
    stacks = [event["traceback"] for event in programs.stream(run_id) if event["kind"] == "log"]
    assert stacks
    assert all(function in stack for stack in stacks)
    assert function in program.complaints

    gate.touch()
    await rescued(programs, run_id)
    assert program.runs
    programs.check_all_over()
    assert await program.leaves(within=SOON) == 0


async def rescued(programs: Programs, run_id: int) -> None:
    """Wait until whoever opens takes a run for an orphan."""

    async def look_again() -> bool:
        await look(programs)
        return programs.statuses() == {run_id: "interrupted"}

    await eventually(look_again, timeout=SOON)


@pytest.mark.asyncio
async def test_G8_a_thread_that_never_ends_does_not_hold_up_the_exit_and_is_rescued_after_it(
    programs: Programs,
) -> None:
    program = programs.run("outlast.py", "thread", programs.folder / "gate")
    run_id = await program.says()
    assert await program.says() < SOON
    assert await program.leaves(within=SOON) == 0
    assert programs.statuses() == {run_id: "cancelling"}
    await look(programs)
    programs.check_all_over()
    assert programs.statuses() == {run_id: "interrupted"}


@pytest.mark.asyncio
@pytest.mark.parametrize("how", ["closed", "torn"])
async def test_G8_N5_a_thread_that_outlasts_its_event_loop_keeps_its_key_until_it_ends(
    programs: Programs, how: str
) -> None:
    gate = programs.folder / "gate"
    program = programs.run("outlast_loop.py", gate, how)
    run_id = await program.says()
    await check_held(programs, run_id)  # the manager is garbage, and collected; its lock is not
    gate.touch()
    await rescued(programs, run_id)
    assert program.runs
    programs.check_all_over()
    assert await program.leaves(within=SOON) == 0
