"""The part of an event loop that has nothing to do with order: futures, tasks, asynchronous generators, errors."""

from __future__ import annotations

import asyncio
import contextvars
import itertools
import logging
from collections.abc import AsyncGenerator, Callable, Coroutine, Generator
from typing import Any, TypeVar
from weakref import WeakKeyDictionary

__all__ = ["PlainEventLoop"]

T = TypeVar("T")
ExceptionHandler = Callable[[asyncio.AbstractEventLoop, dict[str, Any]], object]

log = logging.getLogger("asyncio")


class PlainEventLoop(asyncio.AbstractEventLoop):
    """Does what every event loop does in the same way; see asyncio for its methods."""

    def __init__(self) -> None:
        self._task_numbers = itertools.count(1)
        self._task_factory: Any = None
        self._asyncgens: WeakKeyDictionary[AsyncGenerator[Any, Any], None] = WeakKeyDictionary()
        self._exception_handler: ExceptionHandler | None = None
        self._debug = False

    def create_future(self) -> asyncio.Future[Any]:
        """See asyncio."""
        return asyncio.Future(loop=self)

    def create_task(
        self,
        coro: Generator[Any, None, T] | Coroutine[Any, Any, T],
        *,
        name: str | None = None,
        context: contextvars.Context | None = None,
        **options: Any,
    ) -> asyncio.Task[T]:
        """See asyncio. Each event loop numbers unnamed tasks anew, so that they have the same names in each replay."""
        if self.is_closed():
            raise RuntimeError("Event loop is closed")
        name = name or f"Task-{next(self._task_numbers)}"
        if self._task_factory is None:
            return asyncio.Task(coro, loop=self, name=name, context=context, **options)
        if context is not None:
            options["context"] = context
        task: asyncio.Task[T] = self._task_factory(self, coro, **options)
        task.set_name(name)
        return task

    def set_task_factory(self, factory: Any) -> None:
        """See asyncio."""
        self._task_factory = factory

    def get_task_factory(self) -> Any:
        """See asyncio."""
        return self._task_factory

    def note_asyncgen(self, agen: AsyncGenerator[Any, Any]) -> None:
        """Remember a new asynchronous generator; a hook of ``sys``."""
        self._asyncgens[agen] = None

    def finalize_asyncgen(self, agen: AsyncGenerator[Any, Any]) -> None:
        """Close an asynchronous generator without references; a hook of ``sys``."""
        self._asyncgens.pop(agen, None)
        if not self.is_closed():
            self.call_soon_threadsafe(self.create_task, agen.aclose())

    async def shutdown_asyncgens(self) -> None:
        """See asyncio."""
        agens = list(self._asyncgens)
        results = await asyncio.gather(*(agen.aclose() for agen in agens), return_exceptions=True)
        for agen, result in zip(agens, results, strict=True):
            if isinstance(result, Exception):
                message = f"an error occurred during closing of asynchronous generator {agen!r}"
                self.call_exception_handler({"message": message, "exception": result, "asyncgen": agen})

    def get_exception_handler(self) -> Any:
        """See asyncio."""
        return self._exception_handler

    def set_exception_handler(self, handler: Any) -> None:
        """See asyncio."""
        self._exception_handler = handler

    def default_exception_handler(self, context: dict[str, Any]) -> None:
        """See asyncio."""
        lines = [context.get("message") or "Unhandled exception in event loop"]
        lines += [f"{key}: {context[key]!r}" for key in sorted(context) if key not in ("message", "exception")]
        log.error("\n".join(lines), exc_info=context.get("exception"))

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        """See asyncio."""
        try:
            if self._exception_handler is None:
                self.default_exception_handler(context)
            else:
                self._exception_handler(self, context)
        except Exception as error:  # noqa: BLE001 - the handler itself raised, and nobody else can handle that
            self.default_exception_handler(
                {"message": "Unhandled error in exception handler", "exception": error, "context": context}
            )

    def get_debug(self) -> bool:
        """See asyncio."""
        return self._debug

    def set_debug(self, enabled: bool) -> None:
        """See asyncio."""
        self._debug = enabled
