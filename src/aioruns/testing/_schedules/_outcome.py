"""What a function came to, kept until the future that stands for it is told."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

__all__ = ["Outcome"]


class Outcome:
    """The value or the error of a function, which is called here and now.

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
        except BaseException as error:  # noqa: BLE001 - whatever it is, it is for who waits
            self.error = error

    def tell(self, future: asyncio.Future[Any]) -> None:
        """Resolve a future, unless nobody waits for it any more."""
        if future.done():
            return
        if self.error is not None:
            future.set_exception(self.error)
        else:
            future.set_result(self.value)
