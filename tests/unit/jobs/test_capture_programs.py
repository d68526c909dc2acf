"""Programs that configure logging in their own way while a manager is open: both work."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from pathlib import Path

import aioruns


def run_program(tmp_path: Path, program: str) -> list[str]:
    """Run a program that knows ``work(log)``: what a run logs while it calls a function; return what it prints."""
    common = """
        import asyncio, logging, logging.config, sys, warnings
        from aioruns import RunManager

        async def work(manager, log):
            async def call():
                log()
            handle = await manager.start_run(call())
            await handle
            return [event.data["message"] async for event in handle.events() if event.kind == "log"]

        def manage():
            return RunManager("runs.db", shutdown_grace=0)
    """
    source = Path(aioruns.__file__).resolve().parents[1]
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", textwrap.dedent(common) + textwrap.dedent(program)],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(source)},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def test_basic_config_works_while_a_manager_is_open(tmp_path: Path) -> None:
    program = """
        async def main():
            async with manage() as manager:
                logging.basicConfig(level=logging.INFO, stream=sys.stdout, format="app: %(message)s")
                assert len(logging.getLogger().handlers) == 1
                print("captured:", await work(manager, lambda: logging.info("within")))
            logging.info("after")

        asyncio.run(main())
    """
    assert run_program(tmp_path, program) == ["app: within", "captured: ['within']", "app: after"]


def test_dict_config_keeps_the_capture(tmp_path: Path) -> None:
    program = """
        async def main():
            async with manage() as manager:
                for name in ("a", "b"):
                    logging.config.dictConfig({
                        "version": 1,
                        "handlers": {"out": {"class": "logging.StreamHandler", "stream": "ext://sys.stdout"}},
                        "root": {"level": "INFO", "handlers": ["out"]},
                    })
                    print("captured:", await work(manager, lambda: logging.getLogger(name).info("within")))

        asyncio.run(main())
    """
    assert run_program(tmp_path, program) == ["within", "captured: ['within']"] * 2


def test_application_that_never_configures_logging_stays_as_it_is(tmp_path: Path) -> None:
    program = """
        log = logging.getLogger("app")

        async def main():
            async with manage() as manager:
                print("captured:", await work(manager, lambda: [log.info("a"), log.error("b")]))
            assert not logging.getLogger().handlers
            assert logging.getLogger().level == logging.WARNING

        asyncio.run(main())
    """
    assert run_program(tmp_path, program) == ["captured: ['b']"]


def test_G8_loop_that_is_torn_down_while_managers_are_open_ends_the_capture_once(tmp_path: Path) -> None:
    program = """
        async def stubborn(begun):
            begun.set()
            while True:
                try:
                    return await asyncio.sleep(0.2)
                except asyncio.CancelledError:
                    pass

        async def main():
            loop = asyncio.get_running_loop()
            loop.set_exception_handler(lambda _, context: print("unhandled:", repr(context["exception"])))
            async with RunManager("other.db", shutdown_grace=0), manage() as manager:
                begun = asyncio.Event()
                await manager.start_run(stubborn(begun))
                await begun.wait()
                loop.call_soon(sys.exit, 3)
                await asyncio.Event().wait()

        warnings.simplefilter("ignore", ResourceWarning)  # the managers were not closed before their event loop
        try:
            asyncio.run(main())
        except SystemExit as error:
            print("exit", error.code)
        assert logging.getLogRecordFactory() is logging.LogRecord
    """
    assert run_program(tmp_path, program) == ["exit 3"]
