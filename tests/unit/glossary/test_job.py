"""The job: its steps in order, what it says, and that it ends when it is asked to."""

from __future__ import annotations

import asyncio
import inspect
import json
import threading
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from tests.support import eventually, rows

import aioruns.glossary.job
from aioruns import RunCancelled, RunFailed, RunManager
from aioruns.glossary import GlossaryError, Summary, build_glossary
from aioruns.glossary.job import in_thread

pytestmark = pytest.mark.asyncio

OpenManager = Callable[..., Awaitable[RunManager]]

GUIDE = """
# Guide

A binary heap is a tree that is kept in an array of numbers.
The binary heap is fast. Use a binary heap for queues of events.

- **event queue**: a list of events that wait for their time
"""
MODULE = '''"""Event queues of all kinds. An event queue is used by the binary heap."""

class SearchTree:
    """A tree that keeps its keys in order."""

    def insert(self):
        """Insert into the search tree. A search tree is never full. Search trees grow. The search tree is fast."""
'''


@pytest.fixture
def documents(tmp_path: Path) -> Path:
    folder = tmp_path / "documents"
    folder.mkdir()
    (folder / "guide.md").write_text(GUIDE)
    (folder / "trees.py").write_text(MODULE)
    (folder / "latin.txt").write_bytes(b"caf\xe9 is a place")
    return folder


@pytest.fixture
def output(tmp_path: Path) -> Path:
    return tmp_path / "output"


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir()) if folder.exists() else []


async def test_awaited_outside_a_run_it_writes_the_glossary(documents: Path, output: Path) -> None:
    summary = await build_glossary(str(documents), str(output))
    assert names(output) == ["glossary.json", "glossary.md"]
    glossary = json.loads((output / "glossary.json").read_text("utf-8"))
    assert {entry["term"]: (entry["definition"], entry["source"], entry["line"]) for entry in glossary["entries"]} == {
        "binary heap": ("A binary heap is a tree that is kept in an array of numbers.", "guide.md", 4),
        "event queue": ("A list of events that wait for their time.", "guide.md", 7),
        "search tree": ("A tree that keeps its keys in order.", "trees.py", 4),
    }
    assert glossary["skipped"] == [{"source": "latin.txt", "reason": "not UTF-8 text"}]
    assert summary == Summary(
        folder=str(documents.resolve()),
        documents=2,
        skipped=1,
        terms=3,
        dropped=len(glossary["dropped"]),
        json_file=str(output.resolve() / "glossary.json"),
        markdown_file=str(output.resolve() / "glossary.md"),
    )


async def test_a_run_shows_its_steps_in_order_and_warns_of_what_it_skips(
    open_manager: OpenManager, documents: Path, output: Path
) -> None:
    manager = await open_manager(jobs=[build_glossary])
    handle = await manager.start_run(build_glossary(str(documents), str(output)))
    events = [event async for event in handle.events()]
    steps = [event.data["step"] for event in events if event.kind == "progress"]
    assert list(dict.fromkeys(steps)) == ["load", "extract", "define", "review", "write"]
    last = {event.data["step"]: event.data for event in events if event.kind == "progress"}
    assert {step: data["current"] == data["total"] for step, data in last.items()} == dict.fromkeys(last, True)
    warnings = [event.data for event in events if event.kind == "log" and event.data["level"] == "warning"]
    assert [(warning["message"], warning["fields"]) for warning in warnings] == [
        ("skipped latin.txt: not UTF-8 text", {"source": "latin.txt"})
    ]
    assert isinstance(await handle, Summary)
    assert (await handle.wait()).result["terms"] == 3


async def test_an_earlier_glossary_is_no_document_and_the_same_documents_give_the_same_files(documents: Path) -> None:
    await build_glossary(str(documents), str(documents))
    first = (documents / "glossary.json").read_bytes(), (documents / "glossary.md").read_bytes()
    await build_glossary(str(documents), str(documents))
    assert ((documents / "glossary.json").read_bytes(), (documents / "glossary.md").read_bytes()) == first


async def test_documents_without_text_fail_the_run_with_advice(
    open_manager: OpenManager, tmp_path: Path, output: Path
) -> None:
    (tmp_path / "empty.py").write_text("x = 1\n")
    manager = await open_manager(jobs=[build_glossary])
    handle = await manager.start_run(build_glossary(str(tmp_path), str(output)))
    with pytest.raises(RunFailed, match="holds text; name a folder with documents") as raised:
        await handle
    assert isinstance(raised.value.__cause__, GlossaryError)
    assert names(output) == []


async def test_a_folder_that_does_not_exist_is_refused(tmp_path: Path) -> None:
    with pytest.raises(GlossaryError, match="does not exist"):
        await build_glossary(str(tmp_path / "missing"), str(tmp_path))


@pytest.mark.parametrize("function", ["find_documents", "read_passages", "read_words", "find_definitions", "review"])
async def test_cancelled_at_any_piece_of_work_it_ends_and_writes_nothing(
    open_manager: OpenManager,
    database: Path,
    documents: Path,
    output: Path,
    monkeypatch: pytest.MonkeyPatch,
    function: str,
) -> None:
    entered, go_on = threading.Event(), threading.Event()
    original = getattr(aioruns.glossary.job, function)

    def held_back(*args: Any, **kwargs: Any) -> Any:
        entered.set()
        go_on.wait(timeout=60)
        return original(*args, **kwargs)

    def held_back_items(*args: Any, **kwargs: Any) -> Any:
        yield from held_back(*args, **kwargs)

    lazy = inspect.isgeneratorfunction(original)
    monkeypatch.setattr(aioruns.glossary.job, function, held_back_items if lazy else held_back)
    manager = await open_manager(jobs=[build_glossary])
    handle = await manager.start_run(build_glossary(str(documents), str(output)))
    await eventually(entered.is_set)
    await handle.cancel(reason="test")
    assert [row["status"] for row in rows(database)] == ["cancelling"]
    go_on.set()
    with pytest.raises(RunCancelled):
        await handle
    assert [row["status"] for row in rows(database)] == ["cancelled"]
    assert names(output) == []


async def test_a_piece_of_work_is_waited_for_even_when_cancelled_twice() -> None:
    entered, finish = threading.Event(), threading.Event()

    def work() -> None:
        entered.set()
        finish.wait(timeout=60)

    task = asyncio.create_task(in_thread(work))
    await eventually(entered.is_set)
    for _ in range(2):
        task.cancel()
        await asyncio.sleep(0)
        await asyncio.sleep(0)
    assert not task.done()
    finish.set()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_what_a_cancelled_piece_of_work_raises_is_not_reported() -> None:
    entered, finish = threading.Event(), threading.Event()

    def work() -> None:
        entered.set()
        finish.wait(timeout=60)
        raise OSError("the disk is full")

    task = asyncio.create_task(in_thread(work))
    await eventually(entered.is_set)
    task.cancel()
    finish.set()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_a_piece_of_work_passes_its_error_on() -> None:
    def work() -> None:
        raise OSError("the disk is full")

    with pytest.raises(OSError, match="the disk is full"):
        await in_thread(work)
