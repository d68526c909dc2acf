"""The lifespan of a manager: opened once, closed once, and what may be asked of it when."""

from __future__ import annotations

import asyncio
import warnings
from collections.abc import Callable

from aioruns._aio.tasks import create_task, until_done
from aioruns._jobs.context import current_context
from aioruns._manager.engine import Engine
from aioruns.errors import ManagerClosed

__all__ = ["Lifespan"]


class Lifespan:
    """Opens an engine, hands it out while it is open, and closes it.

    Args:
        make_engine: Makes it, on the event loop that it then belongs to.
        grace: Seconds for which runs may go on when it closes.

    Attributes:
        engine: The engine, from when it is being opened on.
    """

    def __init__(self, make_engine: Callable[[], Engine], *, grace: float) -> None:
        self.engine: Engine | None = None
        self._make_engine = make_engine
        self._grace = grace
        self._accepting = False
        self._opening: asyncio.Task[None] | None = None
        self._closing: asyncio.Task[None] | None = None

    async def open(self) -> None:
        """See ``RunManager.open``."""
        if self._opening is not None:
            raise ManagerClosed("a RunManager is opened once: make a new one")
        self.engine = self._make_engine()
        self._opening = create_task(self.engine.open())
        try:
            await until_done(self._opening)
        except asyncio.CancelledError:
            self._opening.add_done_callback(self._close_unwanted)
            raise
        self._opening.result()
        self._accepting = True

    def _close_unwanted(self, opening: asyncio.Task[None]) -> None:
        if not opening.cancelled() and opening.exception() is None:
            self._close()

    async def aclose(self) -> None:
        """See ``RunManager.aclose``."""
        if self._opening is None:
            return
        _check_loop(self._opening.get_loop())
        context = current_context()
        if context is not None and self.engine is not None and context.owner == self.engine.manager_id:
            raise RuntimeError("aclose() was called inside a run of the same manager: it would wait for itself")
        await until_done(self._opening)
        if not self._opening.cancelled() and self._opening.exception() is None:
            closing = self._close()
            await until_done(closing)
            closing.result()

    def _close(self) -> asyncio.Task[None]:
        self._accepting = False
        if self._closing is None:
            assert self.engine is not None
            self._closing = create_task(self.engine.close(grace=self._grace))
        return self._closing

    def __del__(self) -> None:
        if self._accepting and self.engine is not None and not self.engine.closed:
            warnings.warn(
                "a RunManager was never closed: use async with, or await aclose()", ResourceWarning, stacklevel=2
            )

    def to_look(self) -> Engine:
        """Return the engine for what only looks into memory, which any thread may do.

        Raises:
            ManagerClosed: It is not open, or not any more.
        """
        if self.engine is None or self._opening is None or not self._opening.done():
            raise ManagerClosed("the RunManager is not open: use async with, or await open()")
        if self.engine.closed:
            raise ManagerClosed("the RunManager has been closed: make a new one")
        return self.engine

    def to_ask(self) -> Engine:
        """Return the engine for what is awaited.

        Raises:
            ManagerClosed: It is not open, or not any more.
            RuntimeError: It belongs to another event loop.
        """
        engine = self.to_look()
        _check_loop(engine.loop)
        return engine

    def to_start(self) -> Engine:
        """Return the engine for a run to be started.

        Raises:
            ManagerClosed: It is not open, or closing.
            RuntimeError: It belongs to another event loop.
        """
        engine = self.to_ask()
        if not self._accepting or engine.stopping:
            raise ManagerClosed("the RunManager is closing: it starts no more runs")
        return engine


def _check_loop(loop: asyncio.AbstractEventLoop) -> None:
    if loop is not asyncio.get_running_loop():
        raise RuntimeError("the RunManager belongs to another event loop: use it on the one that opened it")
