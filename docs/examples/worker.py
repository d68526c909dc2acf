"""A worker that takes items from a queue and runs each under its own key: ``python worker.py``.

SIGTERM or Ctrl-C stops it: it takes no more items, and lets the active runs finish.
"""

import asyncio
import itertools
import logging
import signal

from aioruns import RunConflict, RunManager, current_run, job

log = logging.getLogger("worker")


@job
async def convert(item: str) -> str:
    """Convert one item."""
    for _ in current_run().track(range(10), step="pages"):
        await asyncio.sleep(0.05)  # the work
    return item.upper()


async def produce(queue: asyncio.Queue[str]) -> None:
    """Produce items; stands in for a directory, a message broker or a timer."""
    for number in itertools.count():
        await queue.put(f"item-{number // 2}")  # each item arrives twice, as messages may


async def consume(queue: asyncio.Queue[str], manager: RunManager) -> None:
    """Run items one after the other; several consumers start several runs at once."""
    while True:
        item = await queue.get()
        try:
            handle = await manager.start_run(convert(item), key=item)
        except RunConflict as conflict:
            log.info("%s is left out: run %d is at it", item, conflict.active_run_id)
        else:
            log.info("%s is taken by run %d", item, handle.id)
            run = await handle.wait()  # cancelling the wait leaves the run alone
            log.info("%s is %s", item, run.status)


async def main() -> None:
    """Work until a signal arrives."""
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)

    queue = asyncio.Queue[str](maxsize=10)
    async with RunManager("runs.db", jobs=[convert], shutdown_grace=30) as manager, asyncio.TaskGroup() as group:
        tasks = [group.create_task(consume(queue, manager)) for _ in range(4)]
        tasks.append(group.create_task(produce(queue)))
        await stop.wait()
        log.info("stopping")
        for task in tasks:
            task.cancel()
        # On leaving this block, the manager lets active runs finish for at most 30 seconds.
    log.info("stopped")


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    asyncio.run(main())
