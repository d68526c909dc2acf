"""The server of the browser tests: ``aioruns.web.serve`` as an application calls it, on the store in its folder."""

from __future__ import annotations

import asyncio
import sys

from tests.browser.programs.plays import JOBS

from aioruns import RunManager
from aioruns.web import serve


def main(port: str, token: str) -> None:
    """Serve until a signal comes; runs are given no time to drain."""
    asyncio.run(serve(RunManager("runs.db", jobs=JOBS, shutdown_grace=0), port=int(port), token=token))


if __name__ == "__main__":
    main(*sys.argv[1:])
