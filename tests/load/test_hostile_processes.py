"""Jobs that damage their process: what is told while it lives, and what is in the database behind it."""

from __future__ import annotations

import asyncio
import random
import signal
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any, Final, NamedTuple

import pytest
import pytest_asyncio
from tests.bounds import patch_bounds
from tests.load.programs import HostilePrograms
from tests.load.programs.hostile import ENDLESS
from tests.support import eventually

from aioruns import RunConflict, RunManager

pytestmark = pytest.mark.asyncio


@pytest_asyncio.fixture
async def programs(tmp_path: Path) -> AsyncIterator[HostilePrograms]:
    """Programs of this test; those that are left at its end are ended."""
    async with HostilePrograms(tmp_path) as programs:
        yield programs


async def answer() -> int:
    return 42


async def check_rescued(programs: HostilePrograms) -> None:
    """Open the database as the next process does: the run is over, its key is free, nothing is left behind."""
    async with RunManager(programs.db) as manager:
        assert (await manager.get_run(1)).status == "interrupted"
        assert await (await manager.start_run(answer(), key="hostile")) == 42
    programs.check_all_over()


# The process ends


class End(NamedTuple):
    """How a program ends: its exit code, and the status that its run is left in."""

    code: int
    left: str


RESCUED: Final = "running"
ENDS: Final = {
    "exit_at_once": End(5, RESCUED),
    "exit_at_once_from_thread": End(5, RESCUED),
    "terminate_itself": End(-signal.SIGTERM, RESCUED),
    "interrupt_itself": End(-signal.SIGINT, "interrupted"),
    "sys_exit_in_task": End(5, "interrupted"),
    "sys_exit_in_callback": End(5, "interrupted"),
    "stop_the_loop": End(1, "interrupted"),
    "cancel_every_task": End(1, "interrupted"),
    "cancel_every_other_task_at_every_turn": End(1, "interrupted"),
}


@pytest.mark.parametrize("what", ENDS)
async def test_G7_a_run_that_ends_its_process_is_interrupted(programs: HostilePrograms, what: str) -> None:
    program = programs.run("hostile.py", what)
    assert await program.says() == "begun"
    assert await program.exits() == ENDS[what].code
    assert programs.statuses() == {1: ENDS[what].left}
    programs.check()
    await check_rescued(programs)


async def test_G8_a_program_that_is_interrupted_and_closes_its_event_loop_exits(programs: HostilePrograms) -> None:
    """No thread holds up the exit, although nobody had the time to end one."""
    program = programs.run("close_the_loop.py")
    assert await program.says() == "begun"
    program.send_signal(signal.SIGINT)
    assert await program.exits() == 0
    assert programs.statuses() == {1: RESCUED}
    await check_rescued(programs)


@pytest.mark.proof
@pytest.mark.timeout(600)
async def test_G8_however_often_ctrl_c_is_pressed_the_process_exits_and_the_next_open_leaves_nothing_active(
    tmp_path: Path, scale: Callable[..., int], tally: Callable[..., None]
) -> None:
    """Two to four times within a tenth of a second: into the run, the closing, the teardown, the exit."""
    trials = scale(quick=2, full=20, soak=2_000)
    for seed in range(trials):
        moments = random.Random(seed)
        folder = tmp_path / str(seed)
        folder.mkdir()
        async with HostilePrograms(folder) as programs:
            program = programs.run("busy.py")
            assert await program.says() == "begun"
            for _ in range(moments.randint(2, 4)):
                await asyncio.sleep(moments.uniform(0, 0.03))
                program.send_signal(signal.SIGINT)
            assert await program.exits() == -signal.SIGINT, f"seed {seed}"
            async with RunManager(programs.db):
                pass
            # A function that was executing when it was pressed has had the exception itself.
            (failures,) = programs.read("SELECT DISTINCT error FROM runs WHERE status = 'failed'")
            assert {error for (error,) in failures} <= {"KeyboardInterrupt"}, f"seed {seed}"
            assert set(programs.statuses().values()) <= {"completed", "interrupted", "cancelled", "failed"}
            programs.check_all_over()
    tally("impatient ends of a process", trials)


# The process goes on

SURVIVED: Final[dict[str, list[Any]]] = {
    "sys_exit": ["failed", "SystemExit: 5"],
    "sys_exit_in_thread": ["failed", "SystemExit: 5"],
    "open_files_until_there_are_no_more": ["completed", None],
    "change_the_folder": ["completed", None],
}


async def test_G5_a_run_that_cannot_end_its_process_has_an_outcome_of_its_own(programs: HostilePrograms) -> None:
    program = programs.run("hostile.py", *SURVIVED)
    for outcome in SURVIVED.values():
        assert [await program.says() for _ in range(3)] == ["begun", outcome, 42]
    assert await program.says() == "closed"
    assert await program.exits() == 0
    programs.check_all_over()


async def test_G11_a_run_that_blocks_the_event_loop_is_reported_with_its_stack_and_goes_on(
    programs: HostilePrograms, monkeypatch: pytest.MonkeyPatch, scale: Callable[..., int]
) -> None:
    monkeypatch.setenv("BLOCK", str(scale(quick=1, full=5, soak=5)))
    program = programs.run("hostile.py", "block")
    # While it blocks: in the log of the process.
    await eventually(lambda: "run 1, task 'aioruns-run-1' blocks it" in program.complaints)
    assert "in block\n" in program.complaints
    assert program.runs
    # And behind that: in the run's own.
    assert [await program.says() for _ in range(4)] == ["begun", ["completed", None], 42, "closed"]
    (line,) = (event for event in programs.stream(1) if event["kind"] == "log")
    assert line["level"] == "warning"
    assert "the event loop" in line["message"]
    assert "in block\n" in line["traceback"]
    assert await program.exits() == 0


# The function goes on


@pytest.mark.parametrize("what", ENDLESS)
async def test_G3_G8_a_function_that_never_ends_stays_cancelling_until_its_process_is_gone(
    programs: HostilePrograms, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    patch_bounds(monkeypatch, rescue_interval=0.05)
    program = programs.run("hostile.py", what)
    assert await program.says() == "begun"
    async with RunManager(programs.db) as manager:
        # Asked from another process, it does not end, and says where it is.
        assert (await manager.cancel_run(1, reason="enough")).status == "cancelling"
        lines = (event async for event in manager.stream_events(1) if event.kind == "log")
        async with asyncio.timeout(60):
            line = await anext(lines)
        assert "asked to end, the function still executes" in line.data["message"]
        assert f"in {what}\n" in line.data["traceback"]
        with pytest.raises(TimeoutError):
            await manager.wait_run(1, timeout=0.01)
        with pytest.raises(RunConflict):
            await manager.start_run(answer(), key="hostile")

        # Its own manager closes within its bound and raises nothing; row, key and lock stay.
        program.close_stdin()
        while (said := await program.says()) != "closed":
            assert said == "swallowed"
        assert (await manager.get_run(1)).status == "cancelling"
        assert "run 1 still executes although its manager closes" in program.complaints
        assert f"in {what}\n" in program.complaints
        with pytest.raises(RunConflict):
            await manager.start_run(answer(), key="hostile")

        # A thread does not hold up the exit of its process; a coroutine does, as asyncio.run waits for every task.
        if "thread" in what:
            assert await program.exits() == 0
        else:
            assert program.runs
            program.kill()
        async with asyncio.timeout(60):
            assert (await manager.wait_run(1)).status == "interrupted"
        assert await (await manager.start_run(answer(), key="hostile")) == 42
    programs.check_all_over()


# Forks


FORKS: Final = {
    "task": {"os._exit": 3, "sys.exit": 3, "return": 0, "raise": 1, "log": 1},
    # The thread is all that there is in the child, and its end is the end of that.
    "thread": {"os._exit": 3, "sys.exit": 0, "return": 0, "raise": 0, "log": 0},
}


@pytest.mark.parametrize("where", FORKS)
async def test_a_child_that_a_run_forks_ends_where_it_leaves_the_function_and_changes_nothing(
    programs: HostilePrograms, where: str
) -> None:
    program = programs.run("fork.py", where, *FORKS[where])
    for how, code in FORKS[where].items():
        assert [await program.says() for _ in range(2)] == [f"the child exited with {code}", 42], how
    assert await program.says() == "closed"
    assert await program.exits() == 0
    assert set(programs.statuses().values()) == {"completed"}
    assert "from the child" not in str(programs.check())
    assert where == "thread" or "ValueError: the child fails" in program.complaints
    programs.check_all_over()


async def test_in_a_forked_child_every_verb_of_the_manager_raises_at_once(programs: HostilePrograms) -> None:
    program = programs.run("fork.py", "task", "use")
    verbs = ["start_run", "cancel_run", "get_run", "list_runs", "wait", "cancel", "aclose"]
    assert [await program.says() for _ in verbs] == [[verb, "RuntimeError"] for verb in verbs]
    assert [await program.says() for _ in range(3)] == ["the child exited with 0", 42, "closed"]
    assert await program.exits() == 0
    assert programs.statuses() == {1: "completed", 2: "completed"}
    programs.check_all_over()
