"""Processes that share one file: keys are exclusive, and every verb reaches runs of the others."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest
import pytest_asyncio
from tests.fault.programs import Programs, RemoteError, jobs

from aioruns import (
    ConfigurationError,
    RunAlreadyFinished,
    RunCancelled,
    RunConflict,
    RunEvent,
    RunInterrupted,
    RunManager,
)

SOON = 60.0
"""Seconds after which one process will not learn any more what another has done; it takes half a second."""


@pytest_asyncio.fixture
async def programs(tmp_path: Path) -> AsyncIterator[Programs]:
    """Programs of this test; those that are left at its end are ended."""
    async with Programs(tmp_path) as programs:
        yield programs


# Keys


@pytest.mark.asyncio
async def test_X2_of_many_starts_under_one_key_in_four_processes_one_wins(programs: Programs) -> None:
    remotes = await asyncio.gather(*(programs.remote() for _ in range(4)))
    for turn in range(5):
        calls = [remote.send("start_many", 5, "hold", key="one") for remote in remotes]
        answers = [await remote.answer(call) for remote, call in zip(remotes, calls, strict=True)]
        started = [run_id for answer in answers for what, run_id in answer if what == "started"]
        refused = [answer for answer in sum(answers, []) if answer[0] != "started"]
        assert len(started) == 1
        assert refused == [["RunConflict", started[0]]] * 19
        active = [run_id for run_id, status in programs.statuses().items() if status == "running"]
        assert active == started
        # Wherever it executes, whoever comes next may cancel it; then the key is free for the next round.
        canceller = remotes[turn % 4]
        assert await canceller.call("cancel", started[0]) in ("cancelling", "cancelled")
        assert await canceller.call("wait", started[0]) == "cancelled"
    assert len(programs.statuses()) == 5
    for remote in remotes:
        assert await remote.leaves() == 0
    programs.check_all_over()


@pytest.mark.asyncio
async def test_X2_processes_that_open_a_new_file_at_once_all_get_in(programs: Programs) -> None:
    remotes = await asyncio.gather(*(programs.remote() for _ in range(4)))
    assert len(set(programs.managers())) == len(programs.locks()) == 4
    for remote in remotes:
        assert await remote.leaves() == 0
    programs.check_all_over()


@pytest.mark.asyncio
async def test_G2_starts_with_one_idempotency_key_in_four_processes_give_one_run(programs: Programs) -> None:
    remotes = await asyncio.gather(*(programs.remote() for _ in range(4)))
    calls = [remote.send("start_many", 5, "hold", idempotency_key="once") for remote in remotes]
    answers = sum([await remote.answer(call) for remote, call in zip(remotes, calls, strict=True)], [])
    assert len(answers) == 20
    assert len({tuple(answer) for answer in answers}) == 1
    assert programs.statuses() == {answers[0][1]: "running"}


@pytest.mark.asyncio
async def test_an_idempotency_key_finds_the_run_of_another_process_also_when_it_is_over(
    programs: Programs, manager: RunManager
) -> None:
    gate = str(programs.folder / "gate")
    remote = await programs.remote()
    run_id = await remote.call("start", "answer", gate, idempotency_key="once")
    handle = await manager.start_run(jobs.answer(gate), idempotency_key="once")
    assert handle.id == run_id
    with pytest.raises(ConfigurationError, match=f"belongs to run {run_id}"):
        await manager.start_run(jobs.hold(), idempotency_key="once")
    Path(gate).touch()
    assert await handle == {"answer": 42}
    assert await remote.leaves() == 0
    assert await (await manager.start_run(jobs.answer(gate), idempotency_key="once")) == {"answer": 42}
    assert programs.statuses() == {run_id: "completed"}


@pytest.mark.asyncio
async def test_a_run_of_another_process_can_be_joined(programs: Programs, manager: RunManager) -> None:
    gate = str(programs.folder / "gate")
    remote = await programs.remote()
    run_id = await remote.call("start", "answer", gate, key="shared")
    handle = await manager.start_run(jobs.answer(gate), key="shared", on_conflict="join")
    assert handle.id == run_id
    with pytest.raises(RunConflict) as conflict:
        await manager.start_run(jobs.hold(), key="shared", on_conflict="join")
    assert conflict.value.active_run_id == run_id
    # It executes elsewhere: in memory there is nothing of it here.
    assert manager.current_run_id("shared") is None
    active = await manager.get_active_run("shared")
    assert active is not None
    assert active.id == run_id
    Path(gate).touch()
    assert await handle == {"answer": 42}
    assert programs.statuses() == {run_id: "completed"}


# Cancel


@pytest.mark.asyncio
async def test_G3_a_run_is_cancelled_from_another_process(programs: Programs, manager: RunManager) -> None:
    gate, ended = programs.folder / "gate", programs.folder / "ended"
    remote = await programs.remote()
    run_id = await remote.call("start", "tidy_up", str(gate), str(ended), key="far")
    other = await remote.call("start", "hold")
    gate.touch()
    async with asyncio.timeout(SOON):
        run = await manager.cancel_run(run_id, reason="no longer needed")
        assert run.status in ("cancelling", "cancelled")
        run = await manager.wait_run(run_id)
    assert ended.exists()
    assert (run.status, run.error, run.cancel_reason) == ("cancelled", None, "no longer needed")
    assert [event["status"] for event in programs.stream(run_id)] == ["running", "cancelling", "cancelled"]
    assert programs.statuses()[other] == "running"  # C1
    with pytest.raises(RunCancelled):
        await manager.get_handle(run_id)
    with pytest.raises(RunAlreadyFinished):
        await manager.cancel_run(run_id)


@pytest.mark.asyncio
async def test_C9_a_pending_run_is_cancelled_from_another_process_and_never_executes(
    programs: Programs, manager: RunManager
) -> None:
    gate, ended = programs.folder / "gate", programs.folder / "ended"
    remote = await programs.remote(max_running=1)
    first = await remote.call("start", "answer", str(gate))
    second = await remote.call("start", "tidy_up", str(gate), str(ended), key="second")
    third = await remote.call("start", "answer", str(gate))
    async with asyncio.timeout(SOON):
        run = await manager.cancel_run(second)
        assert (run.status, run.started_at) == ("cancelled", None)
        # Its own process learns it too, and lets the next one have its place.
        assert await remote.call("wait", second) == "cancelled"
    gate.touch()
    assert await remote.call("wait", first) == "completed"
    assert await remote.call("wait", third) == "completed"
    assert not ended.exists()
    assert [event["status"] for event in programs.stream(second)] == ["pending", "cancelled"]
    assert await remote.leaves() == 0


@pytest.mark.asyncio
async def test_C3_of_cancels_from_several_processes_one_is_recorded_and_the_end_comes_once(programs: Programs) -> None:
    remotes = await asyncio.gather(*(programs.remote() for _ in range(3)))
    for owner in remotes:
        run_id = await owner.call("start", "hold")
        calls = [(remote, remote.send("cancel", run_id, f"by {remote.pid}")) for remote in remotes]
        for remote, call in calls:
            try:
                assert await remote.answer(call) in ("cancelling", "cancelled")
            except RemoteError as error:  # it came too late
                assert error.name == "RunAlreadyFinished"
        assert await owner.call("wait", run_id) == "cancelled"
        said = programs.stream(run_id)
        assert [event["status"] for event in said] == ["running", "cancelling", "cancelled"]
        assert said[1]["reason"] == said[2]["reason"] in [f"by {remote.pid}" for remote in remotes]


# Waiting and watching


@pytest.mark.asyncio
async def test_a_run_of_another_process_can_be_waited_for(programs: Programs, manager: RunManager) -> None:
    gate = programs.folder / "gate"
    remote = await programs.remote()
    run_id = await remote.call("start", "answer", str(gate))
    with pytest.raises(TimeoutError):
        await manager.wait_run(run_id, timeout=0)
    waiting = [asyncio.create_task(manager.wait_run(run_id)) for _ in range(3)]
    await anext(manager.stream_events(run_id))  # by now they wait
    gate.touch()
    async with asyncio.timeout(SOON):
        assert [(await run).result for run in waiting] == [{"answer": 42}] * 3


@pytest.mark.asyncio
async def test_G8_who_waits_for_a_run_of_a_process_that_closes_gets_its_end(
    programs: Programs, manager: RunManager
) -> None:
    remote = await programs.remote()
    run_id = await remote.call("start", "hold")
    waiting = asyncio.create_task(manager.wait_run(run_id))
    await anext(manager.stream_events(run_id))  # by now it waits
    remote.close_stdin()
    async with asyncio.timeout(SOON):
        assert (await waiting).status == "interrupted"
    with pytest.raises(RunInterrupted):
        await manager.get_handle(run_id)
    assert await remote.exits() == 0


@pytest.mark.asyncio
async def test_G6_events_of_another_process_are_seen_live_and_gapless_however_late_one_comes(
    programs: Programs, open_manager: Callable[[], Awaitable[RunManager]]
) -> None:
    upto, gate = 200, programs.folder / "gate"
    manager, second = await open_manager(), await open_manager()
    remote = await programs.remote()
    run_id = await remote.call("start", "count", upto, str(gate))

    # Live: what was said before the gate is seen while the run executes, however late one comes.
    early, late = manager.stream_events(run_id), second.stream_events(run_id)
    async with asyncio.timeout(SOON):
        seen = [await anext(early) for _ in range(upto // 2 + 2)]
        assert [await anext(late) for _ in seen] == seen
    assert programs.statuses() == {run_id: "running"}
    gate.touch()
    async with asyncio.timeout(SOON):
        rest, rest_of_late = await asyncio.gather(collect(early), collect(late))
    assert rest_of_late == rest
    seen += rest
    assert [event.seq for event in seen] == list(range(1, upto + 3))
    assert [event.data["number"] for event in seen if event.kind == "number"] == list(range(upto))
    assert seen[-1].terminal
    assert {event.run_id for event in seen} == {run_id}
    assert programs.statuses() == {run_id: "completed"}
    # Later still, the stream is replayed and ends.
    assert await collect(second.stream_events(run_id)) == seen


async def collect(events: AsyncIterator[RunEvent]) -> list[RunEvent]:
    return [event async for event in events]
