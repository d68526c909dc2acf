"""The executor when its event loop stops for good, and the interpreter closes what is left."""

from __future__ import annotations

import asyncio

from tests.support import turns
from tests.unit.running.executor_on_fake_store import ExecutorOnFakeStore, waits

from aioruns._running.live import ActiveRun


def test_G8_the_coroutine_of_a_run_whose_loop_has_stopped_can_be_closed_and_stores_nothing() -> None:
    async def begin() -> tuple[ExecutorOnFakeStore, ActiveRun]:
        fake = ExecutorOnFakeStore()
        active = fake.launch(waits())
        await turns(3)
        return fake, active

    loop = asyncio.new_event_loop()
    try:
        fake, active = loop.run_until_complete(begin())
        assert active.task is not None
        coroutine = active.task.get_coro()
        assert coroutine is not None
        coroutine.close()  # raises RuntimeError where somebody awaits all the same
        assert (fake.calls, active.function_over) == ([], False)
        active.task._log_destroy_pending = False  # type: ignore[attr-defined]
    finally:
        loop.close()
