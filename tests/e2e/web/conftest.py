"""A manager with jobs on a real file, and its router behind a real uvicorn."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable

import httpx
import pytest_asyncio
from tests.web_support import JOBS, serving_runs

from aioruns import RunManager


@pytest_asyncio.fixture
async def web_manager(open_manager: Callable[..., Awaitable[RunManager]]) -> RunManager:
    """An open manager on ``database`` that knows the jobs of ``tests.web_support``."""
    return await open_manager(jobs=JOBS)


@pytest_asyncio.fixture
async def client(web_manager: RunManager) -> AsyncIterator[httpx.AsyncClient]:
    """A client of the router of ``web_manager``, served by uvicorn in this event loop."""
    async with serving_runs(web_manager) as client:
        yield client
