"""Jobs that `aioruns serve --jobs serve_jobs` starts."""

import asyncio
from pathlib import Path

from aioruns import current_run, job


@job
async def wait_for_file(name: str) -> str:
    """Wait until there is a file of this name."""
    ctx = current_run()
    ctx.log("info", "it waits")
    while not Path(name).exists():
        await asyncio.sleep(0.005)
    return name
