"""The stand-alone server: ``serve`` in this process, and ``aioruns serve`` as a process that signals stop."""

from __future__ import annotations

import asyncio
import os
import re
import shutil
import signal
import socket
import sqlite3
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, closing
from pathlib import Path

import httpx
import pytest
from tests.e2e.commands import Command, Start
from tests.support import eventually, statuses
from tests.web_support import JOBS, wait_for_cancel

from aioruns import ConfigurationError, ManagerClosed, RunManager, StoreUnavailable
from aioruns.web import serve

TOKEN = "the-token-of-the-tests"
OpenManager = Callable[..., Awaitable[RunManager]]
POSIX = pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals")


# In this process


@asynccontextmanager
async def served(manager: RunManager, **options: object) -> AsyncIterator[str]:
    """Serve a manager beside the test; gives the address. The call is cancelled behind the block."""
    lines: list[str] = []
    task = asyncio.create_task(serve(manager, port=0, announce=lines.append, **options))  # pyright: ignore[reportArgumentType]
    try:
        await eventually(lambda: lines or task.done())
        assert lines, await task
        (address,) = re.findall(r"http://\S+", lines[0])
        yield address
    finally:
        task.cancel()
        await asyncio.wait([task])


@pytest.mark.asyncio
async def test_the_address_it_announces_opens_the_dashboard_at_once(database: Path) -> None:
    async with served(RunManager(database)) as address, httpx.AsyncClient() as client:
        assert re.fullmatch(r"http://127\.0\.0\.1:\d+/\?token=[\w-]{43}", address)
        assert (await client.get(address)).status_code == 200
        assert (await client.get(address.partition("?")[0])).status_code == 200, "by the cookie"


@pytest.mark.asyncio
async def test_each_server_has_a_token_of_its_own_unless_it_is_given_one(database: Path) -> None:
    async with served(RunManager(database)) as one, served(RunManager(database)) as two:
        assert one.partition("?")[2] != two.partition("?")[2]
    async with served(RunManager(database), token=TOKEN) as address:
        assert address.endswith(f"/?token={TOKEN}")


@pytest.mark.asyncio
async def test_cancelled_it_stops_and_closes_the_manager_that_it_opened(database: Path) -> None:
    manager = RunManager(database)
    async with served(manager) as address:
        assert manager.current_run_id() is None
    with pytest.raises(ManagerClosed):
        manager.current_run_id()
    with pytest.raises(httpx.ConnectError):
        httpx.get(address)


@pytest.mark.asyncio
async def test_G8_cancelled_it_completes_the_streams_that_are_open(open_manager: OpenManager) -> None:
    manager = await open_manager(jobs=JOBS)
    handle = await manager.start_run(wait_for_cancel())
    async with httpx.AsyncClient(headers={"Authorization": f"Bearer {TOKEN}"}) as client, AsyncExitStack() as stack:
        async with served(manager, token=TOKEN) as address:
            url = httpx.URL(address).copy_with(path=f"/api/runs/{handle.id}/events", query=None)
            stream = await stack.enter_async_context(client.stream("GET", url))
            lines = stream.aiter_lines()
            assert await anext(lines) == "id: 1"
        assert not any("cancelled" in line for line in [line async for line in lines])
    assert (await manager.get_run(handle.id)).status == "running"


@pytest.mark.asyncio
async def test_it_leaves_a_manager_open_that_was_open(manager: RunManager) -> None:
    async with served(manager):
        pass
    assert manager.current_run_id() is None


@pytest.mark.asyncio
async def test_it_leaves_the_signal_handlers_as_they_were(manager: RunManager) -> None:
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    async with served(manager):
        assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] != before
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == before


@pytest.mark.asyncio
async def test_it_serves_on_another_thread_too(database: Path) -> None:
    async def main() -> int:
        async with served(RunManager(database)) as address, httpx.AsyncClient() as client:
            return (await client.get(address)).status_code

    assert await asyncio.to_thread(asyncio.run, main()) == 200


@pytest.mark.asyncio
async def test_requests_to_other_names_are_refused(manager: RunManager) -> None:
    async with served(manager) as address, httpx.AsyncClient() as client:
        assert (await client.get(address, headers={"Host": "evil.example"})).status_code == 421
    async with served(manager, allowed_hosts=["runs.example.org"]) as address, httpx.AsyncClient() as client:
        assert (await client.get(address, headers={"Host": "runs.example.org"})).status_code == 200
        assert (await client.get(address)).status_code == 421


@pytest.mark.asyncio
async def test_headers_that_go_on_and_on_are_refused(manager: RunManager) -> None:
    async with served(manager) as address:
        url = httpx.URL(address)
        for size, answer in ((20_000, b"200 OK"), (40_000, b"400 Bad Request")):
            reader, writer = await asyncio.open_connection(url.host, url.port)
            writer.write(f"GET {url.raw_path.decode()} HTTP/1.1\r\nHost: localhost\r\nX-Long: {'x' * size}".encode())
            if size < 32_768:
                writer.write(b"\r\n\r\n")
            assert answer in await reader.readline()
            writer.close()
            await writer.wait_closed()


@pytest.mark.asyncio
async def test_a_port_in_use_is_named_before_the_store_is_touched(database: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(ConfigurationError, match=f"cannot listen at 127.0.0.1, port {port}: .*in use"):
            await serve(RunManager(database), port=port)
    for port in (-1, 65_536):
        with pytest.raises(ConfigurationError, match="between 0 and 65535"):
            await serve(RunManager(database), port=port)
    assert not database.exists()


@pytest.mark.asyncio
async def test_a_store_that_cannot_be_opened_is_an_error_of_its_own(database: Path) -> None:
    with closing(sqlite3.connect(database, isolation_level=None)) as connection:
        connection.execute("BEGIN EXCLUSIVE")
        with pytest.raises(StoreUnavailable) as caught:
            await serve(RunManager(f"sqlite:///{database}?busy_timeout=0.1"), port=0)
    assert not isinstance(caught.value.__context__, ManagerClosed)


# As a process


@pytest.fixture
def start_server(start: Start, tmp_path: Path) -> Start:
    """Start ``aioruns serve`` with the jobs of ``programs/serve_jobs.py`` at hand."""
    shutil.copy(Path(__file__).with_name("programs") / "serve_jobs.py", tmp_path)

    def start_one(*arguments: str, **environment: str) -> Command:
        return start("serve", "--port", "0", *arguments, **({"AIORUNS_TOKEN": TOKEN} | environment))

    return start_one


@pytest.fixture
def client() -> Iterator[httpx.Client]:
    with httpx.Client(timeout=60, trust_env=False, headers={"Authorization": f"Bearer {TOKEN}"}) as client:
        yield client


def address_of(server: Command) -> str:
    match = re.search(rf"(http://127\.0\.0\.1:\d+)/\?token={TOKEN}$", server.wait_for("aioruns listens at"))
    assert match
    return match[1]


@POSIX
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_G8_a_signal_ends_streams_at_once_and_lets_runs_drain(
    start_server: Start, client: httpx.Client, tmp_path: Path, number: signal.Signals
) -> None:
    server = start_server("--jobs", "serve_jobs")
    url = address_of(server)
    asked = {"job": "wait_for_file", "args": {"name": "go"}}
    assert client.post(f"{url}/api/runs", json=asked).status_code == 202
    with client.stream("GET", f"{url}/api/runs/1/events") as stream:
        lines = stream.iter_lines()
        while "it waits" not in next(lines):
            pass
        server.signal(number)
        assert not any("completed" in line for line in lines), "the stream has come to its end before the run"
    server.wait_for("stopping")
    assert statuses(tmp_path / "runs.db") == {1: "running"}
    with pytest.raises(httpx.TransportError):
        client.get(url)
    (tmp_path / "go").touch()
    code, output, errors = server.end()
    assert (code, errors) == (0, "")
    assert len(output.splitlines()) == 2, "no request is logged: some show the token"
    assert statuses(tmp_path / "runs.db") == {1: "completed"}


@POSIX
def test_G8_a_second_ctrl_c_interrupts_the_runs(start_server: Start, client: httpx.Client, tmp_path: Path) -> None:
    server = start_server("--jobs", "serve_jobs")
    url = address_of(server)
    client.post(f"{url}/api/runs", json={"job": "wait_for_file", "args": {"name": "never"}}).raise_for_status()
    server.signal(signal.SIGINT)
    server.wait_for("stopping")
    server.signal(signal.SIGINT)
    code, _, errors = server.end()
    assert (code, errors) == (1, "aioruns: interrupted\n")
    assert statuses(tmp_path / "runs.db") == {1: "interrupted"}


@POSIX
def test_store_and_token_come_from_the_environment(start_server: Start, client: httpx.Client, tmp_path: Path) -> None:
    server = start_server(AIORUNS_STORE="sqlite:///other.db", AIORUNS_TOKEN="")
    line = server.wait_for("aioruns listens at")
    match = re.search(r"(http://\S+)/\?token=([\w-]{43})$", line)
    assert match, "an empty variable is none"
    assert (tmp_path / "other.db").exists()
    assert client.get(f"{match[1]}/api/jobs").status_code == 401
    answer = client.get(f"{match[1]}/api/jobs", headers={"Authorization": f"Bearer {match[2]}"})
    assert answer.json() == {"items": []}
    server.signal(signal.SIGTERM)
    assert server.end()[0] == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--jobs", "nowhere"], "there is no module nowhere"),
        (["--jobs", "serve_jobs.nowhere"], "there is no module serve_jobs.nowhere"),
        (["--jobs", "serve_jobs.py"], "there is no module serve_jobs.py"),
        (["--jobs", "json"], "json has no jobs"),
        (["--jobs", ""], "is not the name of a module"),
        (["--store", "redis://host/0"], "no store speaks redis://"),
        (["--port", "70000"], "between 0 and 65535"),
    ],
)
def test_what_cannot_be_served_is_a_usage_error(
    start_server: Start, tmp_path: Path, arguments: list[str], message: str
) -> None:
    code, output, errors = start_server(*arguments).end()
    assert (code, output) == (2, "")
    assert errors.startswith("aioruns: ")
    assert message in errors
    assert errors.count("\n") == 1
    assert not (tmp_path / "runs.db").exists()


def test_without_the_web_extra_it_is_named(start_server: Start, tmp_path: Path) -> None:
    (tmp_path / "fastapi.py").write_text("raise ImportError('fastapi is not installed')\n")
    path = os.pathsep.join(filter(None, [str(tmp_path), os.environ.get("PYTHONPATH")]))
    code, output, errors = start_server(PYTHONPATH=path).end()
    assert (code, output) == (2, "")
    assert errors == "aioruns: this command needs FastAPI and uvicorn: pip install 'aioruns[web]'\n"
    assert not (tmp_path / "runs.db").exists()
