"""``FaultyStore``: which call fails, in which way, and that all others are those of the store behind."""

from __future__ import annotations

import asyncio
import inspect
import math
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any
from unittest.mock import MagicMock

import pytest
import pytest_asyncio

from aioruns import RunFailed, RunFilter, RunManager, RunStatus, StoreUnavailable, job
from aioruns.abc import Ending, Fence, NewEvent, NewRun, Store
from aioruns.testing import Fault, FaultyStore, StoreCall

pytestmark = pytest.mark.asyncio

NOW = 1_760_000_000_000_000
VERBS = [name for name, member in vars(Store).items() if inspect.iscoroutinefunction(member)]


def new(token: int, **fields: Any) -> NewRun:
    return NewRun(manager_id="m", token=token, job="build", status=RunStatus.RUNNING, created_at=NOW, **fields)


@pytest_asyncio.fixture
async def store() -> AsyncIterator[FaultyStore]:
    """A store in memory, open."""
    store = FaultyStore(":memory:")
    await store.open()
    yield store
    store.back()
    await store.aclose()


async def test_call_that_nothing_befalls_is_that_of_the_store_behind() -> None:
    behind = MagicMock(spec=Store)
    store = FaultyStore(behind)
    for verb in VERBS:
        answer = getattr(behind, verb).return_value = object()
        assert await getattr(store, verb)(1, option=2) is answer
        getattr(behind, verb).assert_awaited_once_with(1, option=2)
    store.abandon_lease("m")
    behind.abandon_lease.assert_called_once_with("m")


async def test_every_verb_of_the_protocol_can_fail() -> None:
    store = FaultyStore(":memory:")
    assert isinstance(store, Store)
    assert len(VERBS) == 20
    for verb in VERBS:
        store.fail(verb)
        with pytest.raises(StoreUnavailable, match=f"^{verb} was made to fail$"):
            await getattr(store, verb)()


async def test_verbs_have_the_names_and_the_documentation_of_the_protocol() -> None:
    for verb in VERBS:
        assert inspect.getdoc(getattr(FaultyStore, verb)) == inspect.getdoc(getattr(Store, verb))
        assert inspect.signature(getattr(FaultyStore, verb)) == inspect.signature(getattr(Store, verb))


async def outcomes(call: Callable[[], Awaitable[object]], count: int) -> str:
    """Call a number of times: ``x`` for each that raises."""
    told = ""
    for _ in range(count):
        try:
            await call()
            told += "."
        except StoreUnavailable:
            told += "x"
    return told


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, "x...."),
        ({"call": 3}, "..x.."),
        ({"times": 2}, "xx..."),
        ({"call": 2, "times": 3}, ".xxx."),
        ({"call": 4, "times": math.inf}, "...xx"),
    ],
)
async def test_calls_are_counted_from_the_next_one(store: FaultyStore, options: Any, expected: str) -> None:
    await store.get_run(1)
    fault = store.fail("get_run", **options)
    assert await outcomes(lambda: store.get_run(1), 5) == expected
    assert fault.hits == expected.count("x")
    assert fault.reached.is_set()


async def test_calls_of_other_verbs_do_not_count(store: FaultyStore) -> None:
    fault = store.fail("get_run", call=2)
    await store.get_active_run("k")
    assert await outcomes(lambda: store.get_run(1), 3) == ".x."
    assert await outcomes(lambda: store.get_latest_run("k"), 3) == "..."
    assert fault.hits == 1


async def test_faults_of_one_verb_count_each_for_itself_and_the_first_one_wins(store: FaultyStore) -> None:
    first = store.fail("get_run", call=2, times=2)
    second = store.fail("get_run", call=1, times=2)
    assert await outcomes(lambda: store.get_run(1), 4) == "xxx."
    assert (first.hits, second.hits) == (2, 1)


async def test_call_that_fails_has_not_happened(store: FaultyStore) -> None:
    error = KeyError("mine")
    store.fail("insert_run", error=error)
    with pytest.raises(KeyError) as raised:
        await store.insert_run(new(1))
    assert raised.value is error
    assert await store.owned_runs("m") == []


async def test_call_that_loses_its_answer_has_happened_and_gives_it_when_it_is_repeated(store: FaultyStore) -> None:
    store.lose_answer("insert_run")
    with pytest.raises(StoreUnavailable, match="insert_run"):
        await store.insert_run(new(1))
    (stored,) = await store.owned_runs("m")
    assert await store.insert_run(new(1)) == (stored, True)


async def hung(store: FaultyStore, call: Awaitable[Any], fault: Fault) -> asyncio.Future[Any]:
    """Make a call, and wait until it hangs."""
    calling = asyncio.ensure_future(call)
    await fault.reached.wait()
    await store.list_runs(RunFilter(), limit=1, before=None)  # behind it in line: it would have been answered by now
    assert not calling.done()
    return calling


async def test_call_that_hangs_happens_when_it_is_released(store: FaultyStore) -> None:
    fault = store.hang("insert_run")
    inserting = await hung(store, store.insert_run(new(1)), fault)
    assert await store.owned_runs("m") == []
    fault.release()
    run, inserted = await inserting
    assert inserted
    assert await store.owned_runs("m") == [run]
    await store.insert_run(new(2))


async def test_answer_that_hangs_is_given_when_it_is_released(store: FaultyStore) -> None:
    fault = store.hang("insert_run", happens=True)
    inserting = await hung(store, store.insert_run(new(1)), fault)
    (stored,) = await store.owned_runs("m")
    fault.release()
    assert await inserting == (stored, True)


@pytest.mark.parametrize("happens", [False, True])
async def test_call_that_is_cancelled_while_it_hangs_never_happens_unless_it_has(
    store: FaultyStore, happens: bool
) -> None:
    fault = store.hang("insert_run", happens=happens)
    inserting = await hung(store, store.insert_run(new(1)), fault)
    inserting.cancel()
    await asyncio.wait((inserting,))
    fault.release()
    assert len(await store.owned_runs("m")) == happens


@pytest.mark.parametrize("happens", [False, True])
async def test_call_that_takes_long_takes_that_long(store: FaultyStore, happens: bool) -> None:
    loop = asyncio.get_running_loop()
    store.delay("insert_run", 0.05, happens=happens)
    began = loop.time()
    await store.insert_run(new(1))
    assert loop.time() - began >= 0.049
    assert len(await store.owned_runs("m")) == 1


async def test_fault_that_is_released_befalls_nobody_any_more(store: FaultyStore) -> None:
    fault = store.fail("get_run", times=math.inf)
    assert await outcomes(lambda: store.get_run(1), 2) == "xx"
    fault.release()
    assert await outcomes(lambda: store.get_run(1), 2) == ".."


async def test_store_that_is_away_raises_from_everything_but_aclose() -> None:
    store = FaultyStore(":memory:")
    await store.open()
    await store.insert_run(new(1))
    store.away()
    for verb in VERBS:
        if verb != "aclose":
            with pytest.raises(StoreUnavailable, match="away"):
                await getattr(store, verb)()
    store.away(OSError("no route to it"))
    with pytest.raises(OSError, match="no route"):
        await store.get_run(1)
    store.back()
    assert await store.get_run(1) is not None
    store.away()
    await store.aclose()
    store.back()
    with pytest.raises(StoreUnavailable, match="closed"):
        await store.get_run(1)


async def test_back_releases_what_hangs_and_forgets_what_was_to_come(store: FaultyStore) -> None:
    fault = store.hang("get_run")
    store.fail("get_run", call=2, times=math.inf)
    reading = await hung(store, store.get_run(1), fault)
    store.back()
    assert await reading is None
    assert await outcomes(lambda: store.get_run(1), 3) == "..."


async def test_calls_are_noted_whatever_befalls_them(store: FaultyStore) -> None:
    fence, ending = Fence("m", 1), Ending(status=RunStatus.COMPLETED, at=NOW)
    store.calls.clear()
    store.fail("finish_run")
    with pytest.raises(StoreUnavailable):
        await store.finish_run(1, fence, ending)
    await store.request_cancel(1, at=NOW, reason="enough")
    store.abandon_lease("m")
    assert store.calls == [
        StoreCall("finish_run", (1, fence, ending), {}),
        StoreCall("request_cancel", (1,), {"at": NOW, "reason": "enough"}),
        StoreCall("abandon_lease", ("m",), {}),
    ]


@pytest.mark.parametrize(
    ("verb", "options", "complaint"),
    [
        ("finish", {}, "no verb 'finish' .* finish_run"),
        ("abandon_lease", {}, "no verb 'abandon_lease' that can fail"),
        ("finish_run", {"call": 0}, "counted from 1"),
        ("finish_run", {"times": 0}, "counted from 1"),
    ],
)
async def test_fault_that_could_befall_nothing_is_refused(
    store: FaultyStore, verb: str, options: Any, complaint: str
) -> None:
    with pytest.raises(ValueError, match=complaint):
        store.fail(verb, **options)


async def test_F1_manager_on_it_behaves_as_it_does_on_a_store_that_fails(tmp_path: Path) -> None:
    @job
    async def build(number: int) -> str:
        if number < 0:
            raise ValueError("nothing to build")
        return "built"

    store = FaultyStore(tmp_path / "runs.db")
    finishing = store.lose_answer("finish_run", times=2)
    async with RunManager(store) as manager:
        assert await (await manager.start_run(build(3))) == "built"
        with pytest.raises(RunFailed, match="nothing to build"):
            await (await manager.start_run(build(-1)))
        store.away()
        with pytest.raises(StoreUnavailable):
            await manager.start_run(build(4))
        store.back()
        assert [run.status for run in await manager.list_runs()] == ["failed", "completed"]
    assert finishing.hits == 2


async def test_events_that_are_appended_again_after_a_lost_answer_are_there_once(store: FaultyStore) -> None:
    await store.insert_run(new(1))
    said = [NewEvent(1, NOW, "log", "{}")]
    store.lose_answer("append_events")
    with pytest.raises(StoreUnavailable):
        await store.append_events(1, Fence("m", 1), said)
    await store.append_events(1, Fence("m", 1), said)
    assert [event.kind for event in await store.read_events(1, after=0, limit=9)] == ["status", "log"]
