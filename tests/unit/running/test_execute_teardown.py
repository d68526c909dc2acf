"""The executor when its event loop stops for good, and the interpreter closes what is left."""

from __future__ import annotations

import asyncio

from tests.support import turns
from tests.unit.running.executor_on_fake_store import ExecutorOnFakeStore, task_of, waits

from aioruns._running.live import LiveRun


def test_G8_the_coroutine_of_a_run_whose_loop_has_stopped_can_be_closed_and_stores_nothing() -> None:
    async def begin() -> tuple[ExecutorOnFakeStore, LiveRun]:
        fake = ExecutorOnFakeStore()
        live = fake.launch(waits())
        await turns(3)
        return fake, live

    loop = asyncio.new_event_loop()
    try:
        fake, live = loop.run_until_complete(begin())
        coroutine = task_of(live).get_coro()
        assert coroutine is not None
        coroutine.close()  # raises RuntimeError where somebody awaits all the same
        assert (fake.calls, live.attempt.over) == ([], False)
        task_of(live)._log_destroy_pending = False  # type: ignore[attr-defined]
    finally:
        loop.close()
