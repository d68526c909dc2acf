"""The token: what shows it, what does not, and the cookie that a browser keeps."""

from __future__ import annotations

import base64
from collections.abc import Mapping

import httpx
import pytest
from starlette.responses import PlainTextResponse
from starlette.types import Receive, Scope, Send

from aioruns import ConfigurationError
from aioruns.web._assets import Asset
from aioruns.web._edge import OwnPlace
from aioruns.web._token import TokenGate, check_token

pytestmark = pytest.mark.asyncio

TOKEN = "the-token;=,\"'of~the!tests"
LOGIN = Asset(b"who are you?", "text/html", '"login"')


async def behind(scope: Scope, receive: Receive, send: Send) -> None:
    await PlainTextResponse(f"behind {scope['path']}")(scope, receive, send)


def client(token: str = TOKEN, *, base_url: str = "http://127.0.0.1:8000", root_path: str = "") -> httpx.AsyncClient:
    app = OwnPlace(TokenGate(behind, token, LOGIN))
    return httpx.AsyncClient(transport=httpx.ASGITransport(app, root_path=root_path), base_url=base_url)


def bearer(token: str, scheme: str = "Bearer") -> dict[str, str]:
    return {"Authorization": f"{scheme} {token}"}


async def test_nothing_is_reached_without_the_token() -> None:
    async with client() as visitor:
        for method in ("GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "TRACE"):
            for path in (
                "/api/runs",
                "/api/health",
                "/api/openapi.json",
                "/nothing",
                "//static/x",
                "/static",
                "/api/static/",
            ):
                answer = await visitor.request(method, path)
                assert answer.status_code == 401
                assert answer.headers["www-authenticate"] == "Bearer"
                assert "behind" not in answer.text
        problem = (await visitor.get("/api/runs")).json()
        assert (problem["type"], problem["status"]) == ("urn:aioruns:no-token", 401)
        assert TOKEN not in str(problem)


async def test_the_page_is_a_form_that_asks_for_the_token_and_its_files_are_public() -> None:
    async with client() as visitor:
        page = await visitor.get("/")
        assert (page.status_code, page.text) == (401, "who are you?")
        assert page.headers["cache-control"] == "no-store"
        assert (await visitor.post("/")).headers["content-type"] == "application/problem+json"
        assert (await visitor.get("/static/style.css")).text == "behind /static/style.css"


@pytest.mark.parametrize("scheme", ["Bearer", "bearer", "BEARER"])
async def test_the_token_is_shown_in_a_header(scheme: str) -> None:
    async with client() as visitor:
        assert (await visitor.post("/api/runs", headers=bearer(TOKEN, scheme))).text == "behind /api/runs"


@pytest.mark.parametrize(
    "headers",
    [
        bearer(TOKEN[:-1]),
        bearer(TOKEN + "x"),
        bearer(TOKEN.upper()),
        bearer(""),
        bearer("naïve"),
        bearer(TOKEN, "Basic"),
        {"Authorization": TOKEN},
        {"Authorization": "Basic " + base64.b64encode(f":{TOKEN}".encode()).decode()},
        {"Cookie": f"aioruns-8000={base64.b64encode(TOKEN.encode()).decode()}"},
        {"Cookie": "aioruns-8000=; aioruns-8000; =; ;"},
        {"X-Token": TOKEN},
    ],
)
async def test_what_is_not_the_token_is_refused(headers: Mapping[str, str]) -> None:
    raw = {name.encode(): value.encode("latin-1") for name, value in headers.items()}
    async with client() as visitor:
        assert (await visitor.get("/api/runs", headers=raw)).status_code == 401


@pytest.mark.parametrize("given", ["", "wrong", TOKEN[:-1], "é" * 20, "%ff"])
async def test_a_wrong_token_in_the_address_sets_no_cookie(given: str) -> None:
    async with client() as visitor:
        answer = await visitor.get("/", params={"token": given})
        assert (answer.status_code, answer.text) == (401, "who are you?")
        assert "set-cookie" not in answer.headers


async def test_the_address_with_the_token_sets_a_cookie_that_opens_everything() -> None:
    async with client() as visitor:
        page = await visitor.get("/", params={"token": TOKEN})
        assert page.text == "behind /"
        attributes = page.headers["set-cookie"].split("; ")
        assert attributes[0].startswith("aioruns-8000=")
        assert sorted(attributes[1:]) == ["HttpOnly", "Path=/", "SameSite=Strict"]
        assert TOKEN not in page.headers["set-cookie"]
        for path in ("/", "/api/runs"):
            assert (await visitor.get(path)).text == f"behind {path}"
            assert (await visitor.post(path)).text == f"behind {path}"


async def test_only_the_page_takes_the_token_from_its_address() -> None:
    async with client() as visitor:
        assert (await visitor.get("/api/runs", params={"token": TOKEN})).status_code == 401


async def test_the_cookie_is_for_the_place_where_the_application_is_mounted() -> None:
    async with client(root_path="/opera&/füßi") as visitor:
        page = await visitor.get("/opera&/füßi/", params={"token": TOKEN})
        assert page.status_code == 200
        assert "Path=/opera%26/f%C3%BC%C3%9Fi/" in page.headers["set-cookie"].split("; ")


async def test_the_cookie_stays_off_the_wire_where_there_is_tls() -> None:
    async with client(base_url="https://runs.example.org") as visitor:
        page = await visitor.get("/", params={"token": TOKEN})
        assert page.headers["set-cookie"].startswith("aioruns-https=")
        assert page.headers["set-cookie"].endswith("; Secure")


async def test_servers_on_two_ports_of_a_host_keep_their_cookies_apart() -> None:
    jar: dict[str, str] = {}
    for port in (8000, 8001):
        async with client(f"token-{port}", base_url=f"http://127.0.0.1:{port}") as visitor:
            page = await visitor.get("/", params={"token": f"token-{port}"})
            name, _, value = page.headers["set-cookie"].split("; ")[0].partition("=")
            jar[name] = value
    cookies = "; ".join(f"{name}={value}" for name, value in jar.items())
    for port in (8000, 8001):
        async with client(f"token-{port}", base_url=f"http://127.0.0.1:{port}") as visitor:
            assert (await visitor.get("/api/runs", headers={"Cookie": cookies})).status_code == 200


async def test_of_two_cookies_of_one_name_either_opens() -> None:
    async with client() as visitor:
        await visitor.get("/", params={"token": TOKEN})
        (right,) = [f"{name}={value}" for name, value in visitor.cookies.items()]
    for cookies in (f"{right}; aioruns-8000=other", f"aioruns-8000=other; {right}"):
        async with client() as visitor:
            assert (await visitor.get("/api/runs", headers={"Cookie": cookies})).status_code == 200


@pytest.mark.parametrize("token", ["", " ", "two words", "naïve", "line\nbreak", "\x7f"])
async def test_a_token_that_no_header_carries_is_refused(token: str) -> None:
    with pytest.raises(ConfigurationError, match="visible ASCII"):
        check_token(token)
    assert check_token(TOKEN) == TOKEN
