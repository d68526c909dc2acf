"""Group commit: what is handed in is committed once, together, whoever is cancelled meanwhile."""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import AsyncIterator, Sequence
from typing import Any

import pytest
import pytest_asyncio
from tests.support import eventually, turns
from tests.unit.stores.ledger import Ledger

from aioruns.errors import StoreUnavailable
from aioruns.stores import _writer
from aioruns.stores._writer import GroupCommit

pytestmark = pytest.mark.asyncio


@pytest.fixture
def ledger() -> Ledger:
    return Ledger()


@pytest_asyncio.fixture
async def writer(ledger: Ledger) -> AsyncIterator[GroupCommit[str]]:
    writer = GroupCommit(ledger.commit)
    yield writer
    ledger.open.set()
    await writer.aclose()


def submit(writer: GroupCommit[str], *ops: str) -> list[asyncio.Task[Any]]:
    return [asyncio.ensure_future(writer.submit(op)) for op in ops]


async def submit_while_committing(
    ledger: Ledger, writer: GroupCommit[str], *ops: str
) -> tuple[asyncio.Task[Any], list[asyncio.Task[Any]]]:
    """Hand in one operation, and others while it is being committed."""
    ledger.open.clear()
    (first,) = submit(writer, "first")
    await ledger.committing.wait()
    others = submit(writer, *ops)
    await asyncio.sleep(0)
    return first, others


async def test_operation_is_answered_when_it_is_committed(ledger: Ledger, writer: GroupCommit[str]) -> None:
    ledger.open.clear()
    (waiting,) = submit(writer, "a")
    await ledger.committing.wait()
    assert not waiting.done()
    ledger.open.set()
    assert await waiting == "stored a"


async def test_operation_alone_is_committed_alone_and_at_once(ledger: Ledger, writer: GroupCommit[str]) -> None:
    assert [await writer.submit(op) for op in "abc"] == ["stored a", "stored b", "stored c"]
    assert ledger.batches == [["a"], ["b"], ["c"]]


async def test_what_waits_is_committed_together_in_order(ledger: Ledger, writer: GroupCommit[str]) -> None:
    first, others = await submit_while_committing(ledger, writer, "a", "b", "c")
    ledger.open.set()
    assert await asyncio.gather(first, *others) == ["stored first", "stored a", "stored b", "stored c"]
    assert ledger.batches == [["first"], ["a", "b", "c"]]


async def test_batch_has_a_largest_size_and_the_rest_follows_in_order(
    ledger: Ledger, writer: GroupCommit[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_writer, "LARGEST", 3)
    first, others = await submit_while_committing(ledger, writer, *"abcdefgh")
    ledger.open.set()
    await asyncio.gather(first, *others)
    assert ledger.batches == [["first"], ["a", "b", "c"], ["d", "e", "f"], ["g", "h"]]


async def test_what_those_do_next_who_were_answered_is_committed_together(
    ledger: Ledger, writer: GroupCommit[str]
) -> None:
    """Also if it is a task of theirs that does it, as with a run that was inserted; of many, not the first few."""

    async def act(number: int) -> None:
        await writer.submit(f"{number} begins")
        await asyncio.create_task(writer.submit(f"{number} ends"))

    first, others = await submit_while_committing(ledger, writer)
    acting = [asyncio.create_task(act(number)) for number in range(100)]
    await asyncio.sleep(0)
    ledger.open.set()
    await asyncio.gather(first, *others, *acting)
    assert [len(batch) for batch in ledger.batches] == [1, 100, 100]


async def test_a_batch_is_answered_in_few_turns_however_large_it_is(ledger: Ledger, writer: GroupCommit[str]) -> None:
    first, others = await submit_while_committing(ledger, writer, *map(str, range(1000)))
    ledger.open.set()
    await first
    await eventually(others[0].done)
    await turns(_writer.TURNS)
    assert all(task.done() for task in others)
    assert [len(batch) for batch in ledger.batches] == [1, 1000]


async def test_operation_is_in_line_before_its_caller_yields(ledger: Ledger, writer: GroupCommit[str]) -> None:
    call = writer.submit("a")
    call.send(None)  # up to its first yield, and no further
    call.close()
    assert await writer.submit("b") == "stored b"
    assert ledger.batches == [["a", "b"]]


async def test_operation_that_fails_fails_alone(ledger: Ledger, writer: GroupCommit[str]) -> None:
    ledger.failing["b"] = KeyError("b")
    answers = await asyncio.gather(*submit(writer, "a", "b", "c"), return_exceptions=True)
    assert answers == ["stored a", ledger.failing["b"], "stored c"]


async def test_commit_that_fails_is_told_to_all_who_wait_for_it(ledger: Ledger, writer: GroupCommit[str]) -> None:
    ledger.broken = OSError("no disk")
    assert await asyncio.gather(*submit(writer, "a", "b"), return_exceptions=True) == [ledger.broken] * 2
    ledger.broken = None
    assert await writer.submit("c") == "stored c"


async def test_cancelling_who_waits_does_not_take_the_operation_back(ledger: Ledger, writer: GroupCommit[str]) -> None:
    first, (waiting, other) = await submit_while_committing(ledger, writer, "a", "b")
    waiting.cancel()
    first.cancel()
    await asyncio.wait((waiting, first))
    ledger.open.set()
    assert await other == "stored b"
    assert ledger.stored == ["first", "a", "b"]


@pytest.mark.parametrize("earlier", [[], ["earlier"], ["earlier", "too"]], ids=["new", "quiet", "busy"])
@pytest.mark.parametrize("number", range(7))
async def test_S3_operation_is_stored_whenever_its_caller_is_cancelled(
    ledger: Ledger, writer: GroupCommit[str], number: int, earlier: list[str]
) -> None:
    await asyncio.gather(*submit(writer, *earlier))
    (waiting,) = submit(writer, "a")
    await asyncio.sleep(0)
    await turns(number)
    waiting.cancel()
    await asyncio.wait((waiting,))
    await writer.submit("b")
    assert ledger.stored == [*earlier, "a", "b"]


async def test_G5_writer_that_is_cancelled_in_a_commit_does_it_again(ledger: Ledger, writer: GroupCommit[str]) -> None:
    first, others = await submit_while_committing(ledger, writer, "a")
    writer._task.cancel()
    await asyncio.sleep(0)
    ledger.open.set()
    assert await asyncio.gather(first, *others) == ["stored first", "stored a"]
    assert ledger.batches == [["first"], ["first"], ["a"]]
    assert ledger.stored == ["first", "a"]


@pytest.mark.parametrize("number", range(8))
async def test_G5_writer_that_is_cancelled_at_any_turn_stores_everything_once(
    ledger: Ledger, writer: GroupCommit[str], number: int
) -> None:
    waiting = submit(writer, "a", "b")
    await turns(number)
    writer._task.cancel()
    waiting += submit(writer, "c")
    assert await asyncio.gather(*waiting) == ["stored a", "stored b", "stored c"]
    writer._task.cancel()
    assert await writer.submit("d") == "stored d"
    assert ledger.stored == ["a", "b", "c", "d"]


# An operation alone, behind another that was alone


@pytest_asyncio.fixture
async def quiet(ledger: Ledger, writer: GroupCommit[str]) -> GroupCommit[str]:
    """A writer whose last batch was a single operation, and that has nothing to do."""
    await writer.submit("earlier")
    await turns(3)
    ledger.committing.clear()
    return writer


async def test_what_comes_while_an_operation_alone_is_committed_is_committed_behind_it(
    ledger: Ledger, quiet: GroupCommit[str]
) -> None:
    first, others = await submit_while_committing(ledger, quiet, "a", "b")
    await turns(5)
    assert ledger.batches == [["earlier"], ["first"]]
    ledger.open.set()
    assert await asyncio.gather(first, *others) == ["stored first", "stored a", "stored b"]
    assert ledger.batches == [["earlier"], ["first"], ["a", "b"]]


async def test_S3_operation_alone_whose_caller_is_cancelled_is_stored_before_anything_else(
    ledger: Ledger, quiet: GroupCommit[str]
) -> None:
    first, others = await submit_while_committing(ledger, quiet, "a", "b")
    first.cancel()
    await asyncio.wait((first,))
    others += submit(quiet, "c")
    await turns(2)
    ledger.open.set()
    assert await asyncio.gather(*others) == ["stored a", "stored b", "stored c"]
    assert ledger.batches == [["earlier"], ["first"], ["a", "b", "c"]]
    assert ledger.stored == ["earlier", "first", "a", "b", "c"]


async def test_S3_operation_alone_that_nobody_waits_for_and_that_fails_harms_nobody(
    ledger: Ledger, quiet: GroupCommit[str]
) -> None:
    first, others = await submit_while_committing(ledger, quiet, "a")
    ledger.failing["first"] = KeyError("first")
    first.cancel()
    ledger.open.set()
    assert await asyncio.gather(*others) == ["stored a"]
    assert await quiet.submit("b") == "stored b"


async def test_operation_alone_that_fails_tells_its_caller(ledger: Ledger, quiet: GroupCommit[str]) -> None:
    ledger.failing["a"] = KeyError("answered")
    with pytest.raises(KeyError, match="answered"):
        await quiet.submit("a")
    ledger.broken = OSError("raised")
    with pytest.raises(OSError, match="raised"):
        await quiet.submit("b")
    ledger.broken = None
    assert await asyncio.gather(*submit(quiet, "c", "d")) == ["stored c", "stored d"]
    assert ledger.stored == ["earlier", "c", "d"]


async def test_closing_waits_for_an_operation_alone(ledger: Ledger, quiet: GroupCommit[str]) -> None:
    first, others = await submit_while_committing(ledger, quiet)
    closing = asyncio.ensure_future(quiet.aclose())
    await turns(5)
    assert not closing.done()
    ledger.open.set()
    await closing
    assert [task.result() for task in (first, *others)] == ["stored first"]
    assert quiet._task.done()


async def test_closing_waits_for_an_operation_alone_whose_caller_was_cancelled(
    ledger: Ledger, quiet: GroupCommit[str]
) -> None:
    first, _ = await submit_while_committing(ledger, quiet)
    closing = asyncio.ensure_future(quiet.aclose())
    await turns(2)
    first.cancel()
    await turns(5)
    assert not closing.done()
    ledger.open.set()
    await closing
    assert ledger.stored == ["earlier", "first"]


@pytest.mark.parametrize("number", range(6))
async def test_G5_operation_alone_is_stored_when_every_task_is_cancelled_at_any_turn(
    ledger: Ledger, quiet: GroupCommit[str], number: int
) -> None:
    """As ``asyncio.run`` does it when its main function ends; whoever insists comes once more."""
    waiting = submit(quiet, "a")
    await turns(number)
    for task in (*waiting, quiet._task):
        task.cancel()
    await asyncio.wait(waiting)
    again = submit(quiet, "a", "b")
    assert await asyncio.gather(*again) == ["stored a", "stored b"]
    assert ledger.stored == ["earlier", "a", "b"]


# Closing, and the teardown of the event loop


async def test_closing_commits_what_waits(ledger: Ledger, writer: GroupCommit[str]) -> None:
    first, others = await submit_while_committing(ledger, writer, "a", "b")
    closing = asyncio.ensure_future(writer.aclose())
    await asyncio.sleep(0)
    assert not closing.done()
    ledger.open.set()
    await closing
    assert [task.result() for task in (first, *others)] == ["stored first", "stored a", "stored b"]


async def test_closing_that_is_cancelled_goes_on(ledger: Ledger, writer: GroupCommit[str]) -> None:
    _, (waiting,) = await submit_while_committing(ledger, writer, "a")
    closing = asyncio.ensure_future(writer.aclose())
    await asyncio.sleep(0)
    closing.cancel()
    await asyncio.wait((closing,))
    ledger.open.set()
    assert await waiting == "stored a"
    await asyncio.wait((writer._task,))


async def test_closed_writer_is_unavailable(ledger: Ledger, writer: GroupCommit[str]) -> None:
    await writer.aclose()
    with pytest.raises(StoreUnavailable, match="closed"):
        await writer.submit("a")
    assert ledger.stored == []


async def test_writer_that_closes_refuses_what_comes_before_it_has_ended(
    ledger: Ledger, writer: GroupCommit[str]
) -> None:
    closing = asyncio.ensure_future(writer.aclose())
    await asyncio.sleep(0)
    with pytest.raises(StoreUnavailable, match="closed"):
        await writer.submit("a")
    await closing
    assert ledger.stored == []


async def test_writer_may_be_closed_twice_at_once(writer: GroupCommit[str]) -> None:
    await asyncio.gather(writer.aclose(), writer.aclose())
    await writer.aclose()


async def test_G8_writer_that_was_torn_down_ends_in_time(
    ledger: Ledger, writer: GroupCommit[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_writer, "TEARDOWN", 0.01)
    first, others = await submit_while_committing(ledger, writer, "a", "b")
    writer._task.cancel()
    for error in await asyncio.gather(first, *others, return_exceptions=True):  # also of what never came back
        assert isinstance(error, StoreUnavailable)
    assert ledger.stored == []
    with pytest.raises(StoreUnavailable):
        await writer.submit("c")


async def test_G8_writer_that_was_torn_down_while_idle_ends(
    ledger: Ledger, writer: GroupCommit[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_writer, "TEARDOWN", 0.01)
    await writer.submit("a")
    writer._task.cancel()
    await asyncio.wait((writer._task,))
    with pytest.raises(StoreUnavailable, match="closed"):
        await writer.submit("b")
    assert ledger.stored == ["a"]


async def test_G8_operation_alone_of_a_writer_that_was_torn_down_ends_in_time(
    ledger: Ledger, writer: GroupCommit[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_writer, "TEARDOWN", 0.05)
    for op in "ab":
        await writer.submit(op)
    writer._task.cancel()
    await turns(2)
    ledger.open.clear()
    async with asyncio.timeout(60):
        with pytest.raises(StoreUnavailable, match="torn down"):
            await writer.submit("c")  # as who insists does, in a teardown
    assert ledger.stored == ["a", "b"]


async def test_G9_writer_runs_in_a_clean_context() -> None:
    identity: contextvars.ContextVar[str] = contextvars.ContextVar("identity")
    identity.set("a request's")
    seen: list[str | None] = []

    async def commit(ops: Sequence[str]) -> list[None]:
        seen.append(identity.get(None))
        return [None for _ in ops]

    writer: GroupCommit[str] = GroupCommit(commit)
    await writer.submit("a")
    await writer.aclose()
    assert seen == [None]
