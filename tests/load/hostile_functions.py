"""Functions that turn on their own task, run, context, manager or end; and what becomes of a run that has them."""

from __future__ import annotations

import asyncio
import contextvars
import logging
import signal
from collections.abc import Awaitable, Callable
from typing import Any, Final

import pytest
from tests.support import turns

from aioruns import ConfigurationError, RunConflict, RunContext, RunManager, current_run

__all__ = ["OUTCOMES", "Work"]

Work = Callable[[RunManager], Awaitable[Any]]


# Its own task


def this_task() -> asyncio.Task[Any]:
    task = asyncio.current_task()
    assert task is not None
    return task


async def cancel_itself(_: RunManager) -> None:
    this_task().cancel()
    await asyncio.sleep(0)


async def cancel_itself_and_return(manager: RunManager) -> str:
    for _ in range(10):
        this_task().cancel()
    return "returned"


async def cancel_itself_again_and_again(manager: RunManager) -> str:
    for _ in range(100):
        this_task().cancel()
        try:
            await asyncio.sleep(0)
        except asyncio.CancelledError:
            continue
    return "returned"


async def uncancel_itself(manager: RunManager) -> str:
    this_task().cancel()
    for _ in range(10):
        this_task().uncancel()
    try:
        await asyncio.sleep(0)
    except asyncio.CancelledError:
        for _ in range(10):
            this_task().uncancel()
    return "returned"


async def rename_its_task(_: RunManager) -> str:
    this_task().set_name("x" * 1_000_000)
    return "returned"


# Its run


async def set_its_cancel_event(_: RunManager) -> str:
    current_run().cancel_event.set()
    await turns(3)
    return "returned"


async def cancel_its_run_and_clear_the_event(manager: RunManager) -> str:
    try:
        await manager.cancel_run(current_run().id)
        await asyncio.sleep(0)
    except asyncio.CancelledError:
        current_run().cancel_event.clear()
    return "returned"


async def start_under_its_own_key(manager: RunManager) -> None:
    with pytest.raises(RunConflict) as caught:
        await manager.start_run(turns(1), key="k")
    assert caught.value.active_run_id == current_run().id


async def wait_for_itself_for_a_time(manager: RunManager) -> None:
    with pytest.raises(TimeoutError):
        await manager.get_handle(current_run().id).wait(timeout=0.01)


# Its context


async def replace_the_context(_: RunManager) -> str:
    """A task in an empty context belongs to no run, and that is all that happens."""

    async def ask() -> RunContext:
        return current_run()

    task = asyncio.get_running_loop().create_task(ask(), context=contextvars.Context())
    with pytest.raises(ConfigurationError):
        await task
    with pytest.raises(ConfigurationError):
        contextvars.Context().run(current_run)
    current_run().log("info", "still here")
    return "returned"


async def handle_signals(_: RunManager) -> str:
    loop = asyncio.get_running_loop()
    previous = signal.getsignal(signal.SIGUSR1)
    loop.add_signal_handler(signal.SIGUSR1, lambda: None)
    loop.remove_signal_handler(signal.SIGUSR1)
    signal.signal(signal.SIGUSR1, previous)
    return "returned"


def refuse(*_: Any, **__: Any) -> Any:
    raise ZeroDivisionError


async def disturb_logging(_: RunManager) -> str:
    before = logging.getLogRecordFactory()
    logging.setLogRecordFactory(refuse)
    try:
        current_run().logger.warning("not a record")
    except ZeroDivisionError:
        return "returned"
    finally:
        logging.setLogRecordFactory(before)
    return "the application's own factory was not asked"


class Exiting:
    def __str__(self) -> str:
        raise SystemExit(3)


async def log_what_exits(_: RunManager) -> None:
    current_run().log("info", "%s", field=Exiting())
    logging.getLogger("hostile").error("%s", Exiting())


# Its manager


async def close_the_manager(manager: RunManager) -> None:
    await manager.aclose()


async def leave_the_managers_block(manager: RunManager) -> None:
    await manager.__aexit__(None, None, None)


async def close_the_manager_in_a_task(manager: RunManager) -> None:
    await asyncio.create_task(manager.aclose())


async def close_the_manager_from_a_thread(manager: RunManager) -> None:
    loop = asyncio.get_running_loop()
    await asyncio.to_thread(lambda: asyncio.run_coroutine_threadsafe(manager.aclose(), loop).result(timeout=60))


async def catch_the_refused_close(manager: RunManager) -> str:
    with pytest.raises(RuntimeError, match="inside a run of the same manager"):
        await manager.aclose()
    return "returned"


async def open_the_manager_again(manager: RunManager) -> None:
    await manager.open()


# Its end


async def raise_generator_exit(_: RunManager) -> None:
    raise GeneratorExit


async def raise_stop_iteration(_: RunManager) -> None:
    raise StopIteration(3)


async def raise_keyboard_interrupt(_: RunManager) -> None:
    raise KeyboardInterrupt


async def exit_the_program(_: RunManager) -> None:
    raise SystemExit(3)


async def return_an_awaitable(_: RunManager) -> Any:
    return asyncio.get_running_loop().create_future()


async def close_the_event_loop(_: RunManager) -> None:
    asyncio.get_running_loop().close()


async def run_another_event_loop(_: RunManager) -> None:
    work = turns(1)
    try:
        asyncio.run(work)
    finally:
        work.close()


OUTCOMES: Final[dict[Work, tuple[str, str]]] = {
    cancel_itself: ("failed", "CancelledError: the task was cancelled, and not through cancel_run"),
    cancel_itself_and_return: ("completed", '"returned"'),
    cancel_itself_again_and_again: ("completed", '"returned"'),
    uncancel_itself: ("completed", '"returned"'),
    rename_its_task: ("completed", '"returned"'),
    set_its_cancel_event: ("completed", '"returned"'),
    cancel_its_run_and_clear_the_event: ("completed", '"returned"'),
    start_under_its_own_key: ("completed", "null"),
    wait_for_itself_for_a_time: ("completed", "null"),
    replace_the_context: ("completed", '"returned"'),
    handle_signals: ("completed", '"returned"'),
    disturb_logging: ("completed", '"returned"'),
    log_what_exits: ("failed", "SystemExit: 3"),
    close_the_manager: ("failed", "RuntimeError: aclose() was called inside a run"),
    leave_the_managers_block: ("failed", "RuntimeError: aclose() was called inside a run"),
    close_the_manager_in_a_task: ("failed", "RuntimeError: aclose() was called inside a run"),
    close_the_manager_from_a_thread: ("failed", "RuntimeError: aclose() was called inside a run"),
    catch_the_refused_close: ("completed", '"returned"'),
    open_the_manager_again: ("failed", "ManagerClosed: a RunManager is opened once"),
    raise_generator_exit: ("failed", "RuntimeError: the function raised GeneratorExit"),
    raise_stop_iteration: ("failed", "RuntimeError: coroutine raised StopIteration"),
    raise_keyboard_interrupt: ("failed", "KeyboardInterrupt"),
    exit_the_program: ("failed", "SystemExit: 3"),
    return_an_awaitable: ("failed", "NotStorable: the result of run"),
    close_the_event_loop: ("failed", "RuntimeError: Cannot close a running event loop"),
    run_another_event_loop: ("failed", "RuntimeError: asyncio.run() cannot be called from a running event loop"),
}
