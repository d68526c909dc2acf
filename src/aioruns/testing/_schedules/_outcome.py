"""The outcome of a function, kept until a future gets it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

__all__ = ["Outcome"]


class Outcome:
    """Calls a function at once, and keeps its value or error.

    Attributes:
        value: What it returned.
        error: What it raised.
    """

    __slots__ = ("error", "value")

    def __init__(self, function: Callable[[], Any]) -> None:
        self.value: Any = None
        self.error: BaseException | None = None
        try:
            self.value = function()
        except BaseException as error:  # noqa: BLE001 - whatever it is, the waiter gets it
            self.error = error

    def tell(self, future: asyncio.Future[Any]) -> None:
        """Resolve a future, unless nobody waits for it any more."""
        if future.done():
            return
        if self.error is not None:
            future.set_exception(self.error)
        else:
            future.set_result(self.value)
