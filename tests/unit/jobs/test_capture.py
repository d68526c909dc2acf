"""Standard logging inside a run becomes its events, and the application's logging stays as it is."""

from __future__ import annotations

import asyncio
import contextvars
import io
import logging
import threading
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import anyio.to_thread
import pytest
import structlog
from tests.support import turns

from aioruns import RunManager, current_run, job

OpenManager = Callable[..., Awaitable[RunManager]]


@pytest.fixture
def app() -> Iterator[logging.Logger]:
    """A logger of the application: lets INFO through, and has no handler of its own."""
    logger = logging.getLogger("app")
    logger.setLevel(logging.INFO)
    yield logger
    logger.setLevel(logging.NOTSET)
    logger.propagate = True
    logger.handlers.clear()


@pytest.fixture(autouse=True)
def same_factory() -> Iterator[None]:
    """Leave the factory of log records as it was; a closed manager has done so already."""
    before = logging.getLogRecordFactory()
    yield
    after = logging.getLogRecordFactory()
    logging.setLogRecordFactory(before)
    assert after is before


async def lines(manager: RunManager, run_id: int) -> list[Any]:
    return [event.data async for event in manager.stream_events(run_id) if event.kind == "log"]


async def logged(manager: RunManager, log: Callable[[], Any]) -> list[Any]:
    """Run a function, plain or async; return the log lines of the run."""

    async def work() -> None:
        if asyncio.iscoroutine(result := log()):
            await result

    handle = await manager.start_run(work())
    await handle
    return await lines(manager, handle.id)


def words(of: list[Any]) -> list[str]:
    return [line["message"] for line in of]


# What is captured


@pytest.mark.asyncio
async def test_record_is_captured_with_level_logger_and_formatted_message(
    manager: RunManager, app: logging.Logger
) -> None:
    assert await logged(manager, lambda: app.warning("%d of %s", 1, "two")) == [
        {"level": "warning", "message": "1 of two", "logger": "app"}
    ]


@pytest.mark.asyncio
async def test_records_of_child_tasks_and_threads_are_captured(manager: RunManager, app: logging.Logger) -> None:
    async def work() -> None:
        async def child() -> None:
            await turns(2)
            app.info("task")

        await asyncio.create_task(child())
        await asyncio.to_thread(app.info, "asyncio")
        await anyio.to_thread.run_sync(app.info, "anyio")
        thread = threading.Thread(target=contextvars.copy_context().run, args=(app.info, "copied"))
        thread.start()
        await asyncio.to_thread(thread.join)

    assert words(await logged(manager, work)) == ["task", "asyncio", "anyio", "copied"]


@pytest.mark.asyncio
async def test_records_of_a_def_job_are_captured(manager: RunManager, app: logging.Logger) -> None:
    @job
    def work() -> None:
        app.info("thread")

    handle = await manager.start_run(work())
    await handle
    assert words(await lines(manager, handle.id)) == ["thread"]


@pytest.mark.asyncio
async def test_C2_L6_records_belong_to_the_run_that_made_them_and_to_no_other(
    manager: RunManager, app: logging.Logger
) -> None:
    async def work() -> None:
        for _ in range(20):
            app.info("from %d", current_run().id)
            await turns(1)

    handles = [await manager.start_run(work()) for _ in range(3)]
    foreign = threading.Thread(target=app.info, args=("from a thread without a run",))
    foreign.start()
    await turns(5)
    app.info("from outside")
    await asyncio.to_thread(foreign.join)
    for handle in handles:
        await handle
        assert words(await lines(manager, handle.id)) == [f"from {handle.id}"] * 20


@pytest.mark.asyncio
async def test_what_the_application_discards_is_not_captured(manager: RunManager, app: logging.Logger) -> None:
    def log() -> None:
        app.debug("below the logger's level")
        app.info("kept")
        app.disabled = True
        app.error("disabled")
        app.disabled = False

    assert words(await logged(manager, log)) == ["kept"]


@pytest.mark.asyncio
async def test_level_of_the_capture_logger_filters_further(manager: RunManager, app: logging.Logger) -> None:
    capture = logging.getLogger("aioruns.capture")
    capture.setLevel(logging.ERROR)
    try:
        stored = await logged(manager, lambda: [app.info("a"), app.error("b"), current_run().log("info", "c")])
    finally:
        capture.setLevel(logging.NOTSET)
    assert words(stored) == ["b", "c"]


@pytest.mark.asyncio
async def test_own_logger_passes_everything_once_and_respects_the_application(
    manager: RunManager, caplog: pytest.LogCaptureFixture
) -> None:
    def log() -> None:
        logger = current_run().logger
        assert logger is current_run().logger
        assert logger.isEnabledFor(1)
        for level in (logging.DEBUG, logging.INFO, logging.WARNING):
            logger.log(level, "at %d", level)

    with caplog.at_level(logging.INFO, "aioruns.run"):
        stored = await logged(manager, log)
    assert [(line["level"], line["message"]) for line in stored] == [
        ("debug", "at 10"),
        ("info", "at 20"),
        ("warning", "at 30"),
    ]
    assert [(record.name, record.message) for record in caplog.records] == [
        ("aioruns.run.1", "at 20"),
        ("aioruns.run.1", "at 30"),
    ]


@pytest.mark.asyncio
async def test_E3_traceback_of_a_record_is_stored_redacted(manager: RunManager, app: logging.Logger) -> None:
    def log() -> None:
        try:
            raise ValueError("password=pa55 in /home/bob/in.txt")
        except ValueError:
            app.exception("went wrong")
            current_run().logger.warning("again", exc_info=True)
        app.error("nothing to tell", exc_info=True)

    first, second, third = await logged(manager, log)
    for line in (first, second):
        assert ", in log\n" in line["traceback"]
        assert line["traceback"].endswith("ValueError: password=*** in …/in.txt")
        assert "/home/bob" not in line["traceback"]
        assert str(Path(__file__).parent) not in line["traceback"]
    assert "traceback" not in third


@pytest.mark.asyncio
async def test_own_redaction_is_applied_to_tracebacks(open_manager: OpenManager, app: logging.Logger) -> None:
    manager = await open_manager(redact=lambda text: text.replace("Smith", "S."))

    def log() -> None:
        try:
            raise ValueError("Mr. Smith")
        except ValueError:
            app.exception("went wrong")

    (line,) = await logged(manager, log)
    assert line["traceback"].endswith("ValueError: Mr. S.")


@pytest.mark.asyncio
async def test_structlog_is_captured_because_it_ends_in_logging(manager: RunManager, app: logging.Logger) -> None:
    log: Any = structlog.wrap_logger(
        app,
        wrapper_class=structlog.stdlib.BoundLogger,
        processors=[structlog.stdlib.add_log_level, structlog.processors.KeyValueRenderer(sort_keys=True)],
    )
    (line,) = await logged(manager, lambda: log.info("extracted", pages=3))
    assert (line["level"], line["logger"]) == ("info", "app")
    assert line["message"] == "event='extracted' level='info' pages=3"


# What must not break


class Talkative:
    """Logs while it is formatted."""

    def __str__(self) -> str:
        logging.getLogger("app").info("formatting")
        return "talkative"


class Unshowable:
    def __str__(self) -> str:
        raise ValueError("no words")


@pytest.mark.asyncio
async def test_str_that_logs_is_not_captured_for_ever(manager: RunManager, app: logging.Logger) -> None:
    assert words(await logged(manager, lambda: app.warning("%s", Talkative())))[0] == "talkative"
    assert words(await logged(manager, lambda: app.warning(Talkative())))[0] == "talkative"


@pytest.mark.asyncio
async def test_handler_that_says_things_in_the_run_itself_works(manager: RunManager, app: logging.Logger) -> None:
    class Echo(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            if not record.getMessage().startswith("echo"):
                app.info("echo")
                current_run().log("info", "said by the handler")

    app.addHandler(Echo())
    assert words(await logged(manager, lambda: app.info("a"))) == ["a", "echo", "said by the handler"]


@pytest.mark.parametrize(
    ("message", "args", "stored"),
    [
        ("%d", ("x",), "%d (not formatted: %d format: a real number is required, not str)"),
        ("%s %s", ("x",), "%s %s (not formatted: not enough arguments for format string)"),
        ("%s", (Unshowable(),), "%s (not formatted: no words)"),
        (Unshowable(), (), "<Unshowable> (not formatted: no words)"),
    ],
)
@pytest.mark.asyncio
async def test_E4_record_that_cannot_be_formatted_never_breaks_the_run(
    manager: RunManager, app: logging.Logger, message: Any, args: tuple[object, ...], stored: str
) -> None:
    app.propagate = False  # pytest's own handler raises
    app.addHandler(logging.NullHandler())
    logging.getLogger("aioruns.run").propagate = False
    try:
        own = await logged(manager, lambda: current_run().logger.info(message, *args))
    finally:
        logging.getLogger("aioruns.run").propagate = True
    assert words(own) == words(await logged(manager, lambda: app.info(message, *args))) == [stored]


@pytest.mark.asyncio
async def test_record_made_by_hand_is_not_captured_and_works(manager: RunManager, app: logging.Logger) -> None:
    output = io.StringIO()
    app.addHandler(logging.StreamHandler(output))
    app.propagate = False
    record = {"name": "app", "levelno": logging.INFO, "msg": "from another process"}
    assert await logged(manager, lambda: app.handle(logging.makeLogRecord(record))) == []
    assert output.getvalue() == "from another process\n"


@pytest.mark.asyncio
async def test_any_name_of_a_logger_can_be_captured(manager: RunManager) -> None:
    def log() -> None:
        for name in ("x" * 10_000, "\ud800", "aiorunsish"):
            logging.getLogger(name).error("a")

    names = [line["logger"] for line in await logged(manager, log)]
    assert len(names[0]) <= 512
    assert names[1:] == ["\\ud800", "aiorunsish"]


# The chain of factories


def chain() -> Callable[..., logging.LogRecord]:
    """Chain a factory of the application's in front of the one there is, as other libraries do."""
    previous = logging.getLogRecordFactory()

    def marked(*args: Any, **kwargs: Any) -> logging.LogRecord:
        record = previous(*args, **kwargs)
        record.mark = True
        return record

    logging.setLogRecordFactory(marked)
    return previous


@pytest.mark.asyncio
async def test_factory_chained_before_is_kept_and_restored(open_manager: OpenManager, app: logging.Logger) -> None:
    before = chain()
    foreign = logging.getLogRecordFactory()
    manager = await open_manager()
    assert words(await logged(manager, lambda: app.info("a"))) == ["a"]
    assert hasattr(foreign("app", 20, "", 1, "", (), None), "mark")
    await manager.aclose()
    assert logging.getLogRecordFactory() is foreign
    logging.setLogRecordFactory(before)


@pytest.mark.asyncio
async def test_factory_chained_behind_survives_every_close_and_open(
    open_manager: OpenManager, app: logging.Logger
) -> None:
    original = logging.getLogRecordFactory()
    manager = await open_manager()
    chain()
    foreign = logging.getLogRecordFactory()
    for _ in range(3):
        assert words(await logged(manager, lambda: app.info("a"))) == ["a"], "once, and without recursion"
        await manager.aclose()
        assert logging.getLogRecordFactory() is foreign, "still there, with ours inert behind it"
        assert hasattr(logging.getLogRecordFactory()("app", 20, "", 1, "", (), None), "mark")
        manager = await open_manager()
    await manager.aclose()
    logging.setLogRecordFactory(original)


@pytest.mark.asyncio
async def test_two_managers_capture_once_each_for_its_own_runs(open_manager: OpenManager, app: logging.Logger) -> None:
    original = logging.getLogRecordFactory()
    first, second = await open_manager(), await open_manager()
    assert words(await logged(first, lambda: app.info("a"))) == ["a"]
    await first.aclose()
    assert words(await logged(second, lambda: app.info("b"))) == ["b"]
    await second.aclose()
    assert logging.getLogRecordFactory() is original


@pytest.mark.asyncio
async def test_capture_is_inert_after_close(
    open_manager: OpenManager, app: logging.Logger, caplog: pytest.LogCaptureFixture
) -> None:
    original = logging.getLogRecordFactory()
    manager = await open_manager()
    contexts: list[contextvars.Context] = []
    await logged(manager, lambda: contexts.append(contextvars.copy_context()))
    ours = logging.getLogRecordFactory()
    assert ours is not original
    await manager.aclose()
    assert logging.getLogRecordFactory() is original
    record = contexts[0].run(ours, "app", logging.INFO, "", 1, "%s", ("a",), None)
    assert record.getMessage() == "a"
    assert caplog.records == [], "nothing was said to the run, which would have told that it is over"
