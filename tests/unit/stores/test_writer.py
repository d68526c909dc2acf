"""Group commit: what is handed in is committed once, together, whoever is cancelled meanwhile."""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import AsyncIterator, Sequence
from typing import Any

import pytest
import pytest_asyncio

from aioruns.errors import StoreUnavailable
from aioruns.stores import _writer
from aioruns.stores._writer import GroupCommit

pytestmark = pytest.mark.asyncio


class Ledger:
    """Commits what it is given, when it is let; operations are idempotent by their names."""

    def __init__(self) -> None:
        self.open = asyncio.Event()
        self.open.set()
        self.committing = asyncio.Event()
        self.batches: list[tuple[list[str], bool]] = []
        self.stored: list[str] = []
        self.failing: dict[str, Exception] = {}
        self.broken: Exception | None = None

    async def commit(self, ops: Sequence[str], again: bool) -> list[Any]:
        self.batches.append((list(ops), again))
        self.committing.set()
        await self.open.wait()
        if self.broken is not None:
            raise self.broken
        self.stored += [op for op in ops if op not in self.stored and op not in self.failing]
        return [self.failing.get(op, f"stored {op}") for op in ops]


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
    assert ledger.batches == [(["a"], False), (["b"], False), (["c"], False)]


async def test_what_waits_is_committed_together_in_order(ledger: Ledger, writer: GroupCommit[str]) -> None:
    first, others = await submit_while_committing(ledger, writer, "a", "b", "c")
    ledger.open.set()
    assert await asyncio.gather(first, *others) == ["stored first", "stored a", "stored b", "stored c"]
    assert ledger.batches == [(["first"], False), (["a", "b", "c"], False)]


async def test_operation_is_in_line_before_its_caller_yields(ledger: Ledger, writer: GroupCommit[str]) -> None:
    call = writer.submit("a")
    call.send(None)  # up to its first yield, and no further
    call.close()
    assert await writer.submit("b") == "stored b"
    assert ledger.batches == [(["a", "b"], False)]


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


@pytest.mark.parametrize("turns", range(4))
async def test_S3_operation_is_stored_whenever_its_caller_is_cancelled(
    ledger: Ledger, writer: GroupCommit[str], turns: int
) -> None:
    (waiting,) = submit(writer, "a")
    await asyncio.sleep(0)
    for _ in range(turns):
        await asyncio.sleep(0)
    waiting.cancel()
    await asyncio.wait((waiting,))
    await writer.submit("b")
    assert ledger.stored == ["a", "b"]


async def test_G5_writer_that_is_cancelled_in_a_commit_does_it_again(ledger: Ledger, writer: GroupCommit[str]) -> None:
    first, others = await submit_while_committing(ledger, writer, "a")
    writer._task.cancel()
    await asyncio.sleep(0)
    ledger.open.set()
    assert await asyncio.gather(first, *others) == ["stored first", "stored a"]
    assert ledger.batches == [(["first"], False), (["first"], True), (["a"], False)]
    assert ledger.stored == ["first", "a"]


@pytest.mark.parametrize("turns", range(6))
async def test_G5_writer_that_is_cancelled_at_any_turn_stores_everything_once(
    ledger: Ledger, writer: GroupCommit[str], turns: int
) -> None:
    waiting = submit(writer, "a", "b")
    for _ in range(turns):
        await asyncio.sleep(0)
    writer._task.cancel()
    waiting += submit(writer, "c")
    assert await asyncio.gather(*waiting) == ["stored a", "stored b", "stored c"]
    writer._task.cancel()
    assert await writer.submit("d") == "stored d"
    assert ledger.stored == ["a", "b", "c", "d"]


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


async def test_G9_writer_runs_in_a_clean_context() -> None:
    identity: contextvars.ContextVar[str] = contextvars.ContextVar("identity")
    identity.set("a request's")
    seen: list[str | None] = []

    async def commit(ops: Sequence[str], again: bool) -> list[None]:
        seen.append(identity.get(None))
        return [None for _ in ops]

    writer: GroupCommit[str] = GroupCommit(commit)
    await writer.submit("a")
    await writer.aclose()
    assert seen == [None]
