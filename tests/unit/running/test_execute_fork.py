"""The executor in a child process that a function has forked: it ends there, as a program does."""

from __future__ import annotations

import io
import os
import sys
from typing import NoReturn

import pytest
from tests.unit.running.executor_on_fake_store import ExecutorOnFakeStore, gives, raises, task_of

pytestmark = pytest.mark.asyncio


class _Left(BaseException):
    """Stands for the end of the process."""


@pytest.mark.parametrize(
    ("error", "code", "shown"),
    [
        (None, 0, False),
        (SystemExit(None), 0, False),
        (SystemExit(0), 0, False),
        (SystemExit(3), 3, False),
        (SystemExit("a message"), 1, False),
        (ValueError("no"), 1, True),
    ],
    ids=repr,
)
async def test_a_forked_child_that_leaves_the_function_exits_as_a_program_does(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], error: BaseException | None, code: int,
    shown: bool,
) -> None:  # fmt: skip
    codes: list[int] = []

    def leave(status: int) -> NoReturn:
        codes.append(status)
        raise _Left

    monkeypatch.setattr(os, "_exit", leave)
    fake = ExecutorOnFakeStore()
    live = fake.live(gives() if error is None else raises(error))
    child = os.getpid() + 1
    monkeypatch.setattr(os, "getpid", lambda: child)
    fake.executor.begin(live)
    with pytest.raises(_Left):
        await task_of(live)
    assert codes == [code]
    assert ("ValueError: no" in capsys.readouterr().err) is shown
    assert (fake.calls, fake.told) == ([], []), "the run is its parent's"


class Standard(io.StringIO):
    """A standard stream that notes when it is flushed, and may be broken."""

    def __init__(self, notes: list[str], *, broken: bool) -> None:
        super().__init__()
        self.notes, self.broken = notes, broken

    def flush(self) -> None:
        self.notes.append("flush")
        if self.broken:
            raise BrokenPipeError


@pytest.mark.parametrize("broken", [False, True])
async def test_a_forked_child_writes_out_what_it_has_printed_before_it_exits(
    monkeypatch: pytest.MonkeyPatch, broken: bool
) -> None:
    notes: list[str] = []

    def leave(status: int) -> NoReturn:
        notes.append(f"exit {status}")
        raise _Left

    fake = ExecutorOnFakeStore()
    live = fake.live(gives())
    child = os.getpid() + 1
    with monkeypatch.context() as patched:
        patched.setattr(os, "_exit", leave)
        patched.setattr(os, "getpid", lambda: child)
        patched.setattr(sys, "stdout", Standard(notes, broken=broken))
        patched.setattr(sys, "stderr", Standard(notes, broken=False))
        fake.executor.begin(live)
        with pytest.raises(_Left):
            await task_of(live)
    assert notes[-1] == "exit 0"
    assert broken or notes == ["flush", "flush", "exit 0"]
