"""Iterate over items and report how far the consumer has come."""

from __future__ import annotations

from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterable, Iterator, Sized
from typing import Generic, TypeVar, cast

__all__ = ["Track"]

T = TypeVar("T")


class Track(Generic[T]):
    """Iterates over items and reports how far the consumer has come; made by ``RunContext.track``."""

    def __init__(
        self, set_progress: Callable[..., None], items: Iterable[T] | AsyncIterable[T], step: str | None
    ) -> None:
        self._set_progress = set_progress
        self._items = items
        self._step = step
        self._total = len(items) if isinstance(items, Sized) else None

    def _say(self, done: int) -> None:
        self._set_progress(done, self._total, step=self._step)

    def __iter__(self) -> Iterator[T]:
        self._say(0)
        for done, item in enumerate(cast("Iterable[T]", self._items), 1):
            yield item
            self._say(done)

    async def __aiter__(self) -> AsyncIterator[T]:
        """Iterate over async items; a cancellation arrives where they are awaited."""
        self._say(0)
        done = 0
        async for item in cast("AsyncIterable[T]", self._items):
            yield item
            done += 1
            self._say(done)
