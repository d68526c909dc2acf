"""The dashboard mounted in an application of somebody else's, below a path: the same arguments as ``server``."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import uvicorn
from starlette.applications import Starlette
from starlette.routing import Mount
from tests.browser.programs.plays import JOBS

from aioruns import RunManager
from aioruns.web import create_app


def main(port: str, token: str) -> None:
    """Serve until a signal comes."""
    manager = RunManager("runs.db", jobs=JOBS, shutdown_grace=0)

    @asynccontextmanager
    async def lifespan(_app: Starlette) -> AsyncIterator[None]:
        async with manager:
            yield

    app = Starlette(routes=[Mount("/tools/runs", create_app(manager, token=token))], lifespan=lifespan)
    uvicorn.run(app, port=int(port), access_log=False)


if __name__ == "__main__":
    main(*sys.argv[1:])
