"""What never reaches an endpoint: other sites, bodies that are not JSON, too large, or mean nothing. No row is left."""

from __future__ import annotations

import asyncio
import json
import sqlite3
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import closing
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest
from fastapi import FastAPI
from starlette.applications import Starlette
from starlette.routing import Mount
from tests.support import each_statement, rows
from tests.web_support import JOBS, problem, serving, serving_runs, started

from aioruns import RunManager
from aioruns.web import runs_router

pytestmark = pytest.mark.asyncio

ADD = {"job": "add", "args": {"left": 1}}
JSON = {"content-type": "application/json"}


# Other sites


SITES: list[tuple[dict[str, str], bool]] = [
    ({}, True),
    ({"sec-fetch-site": "same-origin"}, True),
    ({"sec-fetch-site": "none"}, True),
    ({"sec-fetch-site": "same-site"}, False),
    ({"sec-fetch-site": "cross-site"}, False),
    ({"sec-fetch-site": "unheard-of"}, False),
    ({"sec-fetch-site": "same-origin", "origin": "https://elsewhere.example"}, True),
    ({"sec-fetch-site": "cross-site", "origin": "http://host.example"}, False),
    ({"origin": "http://host.example"}, True),
    ({"origin": "https://host.example:443"}, True),
    ({"origin": "https://HOST.example"}, True),
    ({"origin": "http://host.example:8000"}, False),
    ({"origin": "https://elsewhere.example"}, False),
    ({"origin": "https://host.example.elsewhere.example"}, False),
    ({"origin": "null"}, False),
    ({"origin": "http://[::1"}, False),
    ({"origin": "http://host.example:port"}, False),
    ({"origin": ""}, False),
]


async def test_pages_of_other_sites_change_nothing(
    client: httpx.AsyncClient, database: Path, subtests: pytest.Subtests
) -> None:
    for headers, passes in SITES:
        with subtests.test(headers=headers):
            before = len(rows(database))
            response = await client.post("/runs", json=ADD, headers={"host": "host.example", **headers})
            if passes:
                assert response.status_code == 202
            else:
                problem(response, 403, "cross-site")
            assert len(rows(database)) == before + passes


UNDECLARED: list[dict[str, str]] = [
    {},
    {"content-type": "text/plain"},
    {"content-type": "application/x-www-form-urlencoded"},
    {"content-type": "multipart/form-data; boundary=x"},
    {"content-type": "application/jsonp"},
    {"content-type": "text/plain, application/json"},
    {"content-type": "application/json", "content-encoding": "gzip"},
]


MALFORMED = [
    b"{",
    b"{} {}",
    b'{"job": "add", "args": {"left": NaN}}',
    b'{"job": "add", "args": {"left": -Infinity}}',
    b'{"job": "echo", "args": {"options": {"x": 1e999}}}',
    b'{"job": "add", "args": {"left": 1}, "job": "add"}',
    b'{"job": "add", "args": {"left": 1, "left": 2}}',
    b'{"job": "echo", "args": {"text": "\\ud800"}}',
    b'{"job": "echo", "args": {"options": {"\\udfff": 1}}}',
    b'{"job": "echo", "args": {"text": "\xff"}}',
    '{"job": "echo"}'.encode("utf-16"),
    b'\xef\xbb\xbf{"job": "echo"}',
    b'{"job": "add", "args": {"left": ' + b"1" * 5000 + b"}}",
    b'{"job": "echo", "args": {"options": ' + b'{"x":' * 100_000,
    b"[" * 2_000_000,
]


async def test_a_body_that_is_not_one_json_text_is_refused(
    client: httpx.AsyncClient, database: Path, subtests: pytest.Subtests
) -> None:
    for body in MALFORMED:
        with subtests.test(body=body[:60]):
            problem(await client.post("/runs", content=body, headers=JSON), 400, "malformed-json")
    assert rows(database) == []


SENSELESS: list[tuple[Any, list[tuple[str, str]]]] = [
    ({}, [("job", "body")]),
    ([], [("body", "body")]),
    ("text", [("body", "body")]),
    (None, [("body", "body")]),
    ({"job": 1}, [("job", "body")]),
    ({"job": ""}, [("job", "body")]),
    ({"job": "x" * 513}, [("job", "body")]),
    (ADD | {"key": "a\0b"}, [("key", "body")]),
    (ADD | {"key": "\x85"}, [("key", "body")]),
    (ADD | {"tags": ["a", 1, ""]}, [("tags.1", "body"), ("tags.2", "body")]),
    (ADD | {"tags": "one"}, [("tags", "body")]),
    (ADD | {"tags": ["x"] * 101}, [("tags", "body")]),
    (ADD | {"timeout": "60"}, [("timeout", "body")]),
    (ADD | {"timeout": 0}, [("timeout", "body")]),
    (ADD | {"timeout": True}, [("timeout", "body")]),
    (ADD | {"on_conflict": "replace"}, [("on_conflict", "body")]),
    (ADD | {"on_conflict": "join"}, [("on_conflict", "body")]),
    (ADD | {"args": [1]}, [("args", "body")]),
    (ADD | {"retries": 3}, [("retries", "body")]),
    ({"job": "add", "args": {}}, [("left", "argument")]),
    ({"job": "add", "args": {"left": "1"}}, [("left", "argument")]),
    ({"job": "add", "args": {"left": 1.5}}, [("left", "argument")]),
    ({"job": "add", "args": {"left": None, "up": 1}}, [("left", "argument"), ("up", "argument")]),
    ({"job": "echo", "args": {"mode": "silent"}}, [("mode", "argument")]),
    ({"job": "echo", "args": {"text": "x" * 201}}, [("text", "argument")]),
    ({"job": "echo", "args": {"options": {"x": "y" * 1_100_000}}}, [("options", "argument")]),
]


async def test_what_makes_no_sense_is_named(
    client: httpx.AsyncClient, database: Path, subtests: pytest.Subtests
) -> None:
    for asked, names in SENSELESS:
        with subtests.test(names=names):
            body = problem(await client.post("/runs", json=asked), 422, "invalid-request")
            assert sorted((error["name"], error["in"]) for error in body["errors"]) == sorted(names)
            assert all(error["detail"] for error in body["errors"])
    assert rows(database) == []


SENSELESS_URLS: list[tuple[str, list[tuple[str, str]]]] = [
    ("/runs?limit=0", [("limit", "query")]),
    ("/runs?limit=1001&before=0", [("before", "query"), ("limit", "query")]),
    ("/runs?status=done", [("status.0", "query")]),
    ("/runs?key=%00&job=", [("job", "query"), ("key", "query")]),
    ("/runs?" + "&".join(["tag=x"] * 21), [("tag", "query")]),
    ("/runs/current", [("key", "query")]),
    ("/runs/0", [("run_id", "path")]),
    ("/runs/-1", [("run_id", "path")]),
    (f"/runs/{2**63}", [("run_id", "path")]),
    ("/runs/" + "9" * 5000, [("run_id", "path")]),
    ("/runs/x/log.txt", [("run_id", "path")]),
    ("/runs/1/events?after=-1", [("after", "query")]),
    ("/overview?hours=0", [("hours", "query")]),
]


async def test_a_parameter_that_makes_no_sense_is_named(client: httpx.AsyncClient, subtests: pytest.Subtests) -> None:
    await started(client, "add", {"left": 1})
    for path, names in SENSELESS_URLS:
        with subtests.test(path=path[:60]):
            body = problem(await client.get(path), 422, "invalid-request")
            assert sorted((error["name"], error["in"]) for error in body["errors"]) == names


async def test_a_header_that_makes_no_sense_is_named(client: httpx.AsyncClient) -> None:
    await started(client, "add", {"left": 1})
    body = problem(await client.get("/runs/1/events", headers={"Last-Event-ID": "x"}), 422, "invalid-request")
    assert [(error["name"], error["in"]) for error in body["errors"]] == [("Last-Event-ID", "header")]


async def test_of_very_many_mistakes_some_are_named(client: httpx.AsyncClient) -> None:
    unknown = {f"{'x' * 500}{number}": 1 for number in range(3000)}
    response = await client.post("/runs", json={"job": "add", "args": unknown})
    assert len(problem(response, 422, "invalid-request")["errors"]) == 100
    assert len(response.content) < 50_000


async def test_a_body_of_very_many_fields_is_refused_before_they_are_looked_at(client: httpx.AsyncClient) -> None:
    response = await client.post("/runs", json=ADD | {f"field{number}": 1 for number in range(101)})
    (error,) = problem(response, 422, "invalid-request")["errors"]
    assert (error["name"], error["in"]) == ("body", "body")
    assert error["detail"].startswith(f"it has {len(ADD) + 101} fields")


async def test_values_that_are_merely_strange_are_taken(client: httpx.AsyncClient, web_manager: RunManager) -> None:
    text = "\0 \x1b[31m \u202e <script> \U0001f600"
    run = await started(client, "echo", {"text": text, "options": {"": [[[]]], text: -(2**63)}}, key="\u202e<b>")
    result = (await web_manager.wait_run(run["id"])).result
    assert (result["text"], result["options"]) == (text, {"": [[[]]], text: -(2**63)})
    assert (await client.get("/runs/current", params={"key": "\u202e<b>"})).json()["arguments"]["text"] == text


async def exchange(client: httpx.AsyncClient, head: str, parts: AsyncIterator[bytes]) -> bytes:
    """Send a request as it comes, as long as the server takes it; gives what it answers."""
    address = urlsplit(str(client.base_url))
    reader, writer = await asyncio.open_connection(address.hostname, address.port)
    writer.write(f"POST /runs HTTP/1.1\r\nHost: {address.netloc}\r\n{head}\r\n\r\n".encode())
    answer = asyncio.create_task(reader.readuntil(b"\r\n\r\n"))
    try:
        async for part in parts:
            if answer.done():
                break
            writer.write(part)
            await writer.drain()
        return await answer
    finally:
        writer.close()


async def test_G10_a_body_without_an_end_is_refused_while_it_comes(client: httpx.AsyncClient, database: Path) -> None:
    sent = 0

    async def chunks() -> AsyncIterator[bytes]:
        nonlocal sent
        while sent < 64 * 1024 * 1024:
            yield b"10000\r\n" + b" " * 0x10000 + b"\r\n"
            sent += 0x10000
            await asyncio.sleep(0)

    answer = await exchange(client, "Content-Type: application/json\r\nTransfer-Encoding: chunked", chunks())
    assert answer.startswith(b"HTTP/1.1 413 ")
    assert sent < 32 * 1024 * 1024
    assert rows(database) == []


async def test_a_body_of_two_megabytes_is_the_largest(client: httpx.AsyncClient) -> None:
    body = json.dumps(ADD).encode()
    largest = body.ljust(2 * 1024 * 1024)
    assert (await client.post("/runs", content=largest, headers=JSON)).status_code == 202
    problem(await client.post("/runs", content=largest + b" ", headers=JSON), 413, "body-too-large")
    problem(await client.post("/runs/1/retry", content=largest + b" ", headers=JSON), 413, "body-too-large")


# The router within an application


async def test_methods_that_are_not_allowed_are_problems(client: httpx.AsyncClient) -> None:
    for method, path, allowed in (
        ("PUT", "/runs", "GET, POST"),
        ("DELETE", "/runs/1", "GET"),
        ("HEAD", "/health", "GET"),
    ):
        response = await client.request(method, path)
        assert response.status_code == 405
        assert response.headers["allow"] == allowed
        assert response.headers["content-type"] == "application/problem+json"


async def test_the_rest_of_the_application_keeps_its_own_errors(web_manager: RunManager) -> None:
    app = FastAPI()

    @app.get("/own/{number}")
    async def own(number: int) -> int:
        return number

    app.include_router(runs_router(web_manager), prefix="/api")
    async with serving(app) as url, httpx.AsyncClient(base_url=url) as client:
        for path in "/own/x", "/nowhere", "/api/nowhere":
            response = await client.get(path)
            assert response.headers["content-type"] == "application/json"
            assert "detail" in response.json()
        assert (await client.delete("/own/1")).json() == {"detail": "Method Not Allowed"}
        problem(await client.get("/api/runs/x"), 422, "invalid-request")


async def test_two_routers_in_one_application_do_not_mix(open_manager: Callable[..., Awaitable[RunManager]]) -> None:
    app = FastAPI()
    for name in "a", "b":
        manager = await open_manager(jobs=JOBS)
        app.include_router(runs_router(manager), prefix=f"/{name}")
    async with serving(app) as url, httpx.AsyncClient(base_url=url) as client:
        for name in "a", "b":
            response = await client.post(f"/{name}/runs", json=ADD)
            assert response.headers["location"] == f"/{name}/runs/{response.json()['id']}"
        assert (await client.get("/openapi.json")).status_code == 200  # and no warning of operations by one name


def _prefixed(router: Any) -> FastAPI:
    app = FastAPI()
    app.include_router(router, prefix="/a b/api")
    return app


def _mounted(router: Any) -> Starlette:
    return Starlette(routes=[Mount("/outer", routes=[Mount("/inner", app=_prefixed(router))])])


@pytest.mark.parametrize(
    ("wrap", "options", "path", "shown"),
    [
        (_prefixed, {}, "/a%20b/api", "/a%20b/api"),
        (_mounted, {}, "/outer/inner/a%20b/api", "/outer/inner/a%20b/api"),
        (_prefixed, {"root_path": "/proxy"}, "/a%20b/api", "/proxy/a%20b/api"),
        (_mounted, {"root_path": "/proxy"}, "/outer/inner/a%20b/api", "/proxy/outer/inner/a%20b/api"),
    ],
)
async def test_location_is_the_path_that_clients_use(
    wrap: Callable[[Any], Any], options: dict[str, Any], path: str, shown: str, web_manager: RunManager
) -> None:
    app = wrap(runs_router(web_manager))
    async with serving(app, **options) as url, httpx.AsyncClient(base_url=url + path) as client:
        response = await client.post("/runs", json=ADD)
        assert response.headers["location"] == f"{shown}/runs/1"
        await web_manager.wait_run(1)
        again = await client.post("/runs/1/retry")
        assert again.headers["location"] == f"{shown}/runs/2"


async def test_location_is_right_where_the_application_knows_its_root_path(web_manager: RunManager) -> None:
    inner = _prefixed(runs_router(web_manager))

    async def behind_a_proxy(scope: Any, receive: Any, send: Any) -> None:
        await inner(scope | {"root_path": "/proxy"}, receive, send)  # the path itself has lost it on the way

    async with serving(behind_a_proxy, lifespan="off") as url, httpx.AsyncClient(base_url=url) as client:
        response = await client.post("/a%20b/api/runs", json=ADD)
        assert response.headers["location"] == "/proxy/a%20b/api/runs/1"


# The store


async def test_a_store_that_is_locked_is_unavailable_for_a_while(
    open_manager: Callable[..., Awaitable[RunManager]], database: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    manager = await open_manager(jobs=JOBS, store_timeout=2)
    async with serving_runs(manager) as client:
        with closing(sqlite3.connect(database, isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            response = await client.post("/runs", json=ADD)
            other.execute("ROLLBACK")
        problem(response, 503, "store-unavailable")
        assert int(response.headers["retry-after"]) > 0
        assert str(database.parent) not in response.text
        assert (await client.post("/runs", json=ADD)).status_code == 202


async def test_a_store_that_cannot_be_read_is_unavailable(client: httpx.AsyncClient, database: Path) -> None:
    def fail(sql: str) -> None:
        raise sqlite3.OperationalError(f"disk I/O error in {database}")

    await started(client, "add", {"left": 1})
    with each_statement(fail):
        for path in "/runs", "/runs/1", "/runs/1/events", "/runs/current?key=k", "/overview", "/health":
            response = await client.get(path)
            problem(response, 503, "store-unavailable")
            assert int(response.headers["retry-after"]) > 0
            assert str(database) not in response.text
        for verb in "cancel", "retry":
            problem(await client.post(f"/runs/1/{verb}"), 503, "store-unavailable")
    assert (await client.get("/runs")).status_code == 200
