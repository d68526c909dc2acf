"""Opens a manager once, closes it once, and refuses calls for which it is not open."""

from __future__ import annotations

import asyncio
import warnings

import anyio

from aioruns._aio.tasks import create_task, until_done
from aioruns._jobs import capture
from aioruns._jobs.context import current_context
from aioruns._manager.closing import CLOSE_BOUND, close
from aioruns._manager.engine import Engine, Settings
from aioruns._running.rescue import rescue, rescue_periodically
from aioruns._values.model import now_micros
from aioruns.errors import ManagerClosed

__all__ = ["Lifespan"]


async def _open(engine: Engine) -> None:
    """Open the store, acquire the manager's lease, rescue the runs of dead processes, and begin to watch.

    Raises:
        ConfigurationError: The store is no database of aioruns, or of a newer version.
        StoreUnavailable: The store cannot be reached.
    """
    opened = engine.loop.create_future()
    engine.state.keeper = engine.tasks.create(_keep(engine, opened))
    await opened


async def _keep(engine: Engine, opened: asyncio.Future[None]) -> None:
    """Open, then watch until the manager is closed. If the teardown of the event loop cancels this task, close.

    One task does it all: a task created after opening might be cancelled before its first step, and never close.
    """
    try:
        await _open_store(engine)
    except BaseException as error:
        if not opened.done():
            opened.set_exception(error)
        raise
    if not opened.done():
        opened.set_result(None)
    try:
        # Watch in another task: the bounded store cancels the task of a call that it gives up, which is no teardown.
        await engine.tasks.create(engine.watcher.watch())
    except asyncio.CancelledError:
        if not engine.state.closed:
            await close(engine, grace=0, torn=True)
            warnings.warn("a RunManager was not closed before its event loop", ResourceWarning, stacklevel=2)
        raise


async def _open_store(engine: Engine) -> None:
    store, manager_id = engine.store, engine.state.manager_id
    try:
        await store.open()
        await store.acquire_lease(manager_id, at=now_micros())
        await rescue(store, engine.feed)
        anyio.get_cancelled_exc_class()  # makes anyio load its backend: at close there may be no descriptor left
        engine.blocking.start()
    except BaseException:
        engine.state.closed = True
        store.abandon_lease(manager_id)
        with anyio.move_on_after(CLOSE_BOUND):
            await store.aclose()
        raise
    capture.install()
    engine.capturing = True
    engine.rescuer = engine.tasks.create(rescue_periodically(store, engine.feed))


class Lifespan:
    """Opens an engine, hands it out while it is open, and closes it.

    Args:
        settings: The parameters of the manager.

    Attributes:
        engine: The engine, once opening it has begun.
    """

    def __init__(self, settings: Settings) -> None:
        self.engine: Engine | None = None
        self._settings = settings
        self._accepting = False
        self._opening: asyncio.Task[None] | None = None
        self._closing: asyncio.Task[None] | None = None

    async def open(self) -> None:
        """See ``RunManager.open``."""
        if self._opening is not None:
            raise ManagerClosed("a RunManager is opened once: make a new one")
        self.engine = Engine(self._settings)
        self._opening = create_task(_open(self.engine))
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
        if context is not None and self.engine is not None and context.owner == self.engine.state.manager_id:
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
            self._closing = create_task(close(self.engine, grace=self._settings.shutdown_grace))
        return self._closing

    def __del__(self) -> None:
        if self._accepting and self.engine is not None and not self.engine.state.closed:
            warnings.warn(
                "a RunManager was never closed: use async with, or await aclose()", ResourceWarning, stacklevel=2
            )

    def to_look(self) -> Engine:
        """Return the engine for a call that only looks into memory, which any thread may make.

        Raises:
            ManagerClosed: The manager is not open.
        """
        if self.engine is None or self._opening is None or not self._opening.done():
            raise ManagerClosed("the RunManager is not open: use async with, or await open()")
        if self.engine.state.closed:
            raise ManagerClosed("the RunManager has been closed: make a new one")
        return self.engine

    def to_ask(self) -> Engine:
        """Return the engine for a call that is awaited.

        Raises:
            ManagerClosed: The manager is not open.
            RuntimeError: The manager belongs to another event loop.
        """
        engine = self.to_look()
        _check_loop(engine.loop)
        return engine

    def to_start(self) -> Engine:
        """Return the engine for a call that starts a run.

        Raises:
            ManagerClosed: The manager is not open, or is closing.
            RuntimeError: The manager belongs to another event loop.
        """
        engine = self.to_ask()
        if not self._accepting or engine.state.stopping:
            raise ManagerClosed("the RunManager is closing: it starts no more runs")
        return engine


def _check_loop(loop: asyncio.AbstractEventLoop) -> None:
    if loop is not asyncio.get_running_loop():
        raise RuntimeError("the RunManager belongs to another event loop: use it on the one that opened it")
