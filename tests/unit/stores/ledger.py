"""A store of names, for tests of group commit."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

from tests.support import turns

__all__ = ["Ledger"]


class Ledger:
    """Commits what it is given, when it is let; operations are idempotent by their names."""

    def __init__(self) -> None:
        self.open = asyncio.Event()
        self.open.set()
        self.committing = asyncio.Event()
        self.batches: list[list[str]] = []
        self.stored: list[str] = []
        self.hop = 2  # turns of the event loop that a commit takes at least
        self.busy = False
        self.failing: dict[str, Exception] = {}
        self.broken: Exception | None = None

    async def commit(self, ops: Sequence[str]) -> list[Any]:
        assert not self.busy, "one commit at a time"
        self.busy = True
        self.batches.append(list(ops))
        self.committing.set()
        try:
            await turns(self.hop)
            await self.open.wait()
        finally:
            self.busy = False
        if self.broken is not None:
            raise self.broken
        self.stored += [op for op in ops if op not in self.stored and op not in self.failing]
        return [self.failing.get(op, f"stored {op}") for op in ops]
