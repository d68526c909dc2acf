"""The token of the stand-alone application: without it, callers reach only the form that asks for it."""

from __future__ import annotations

import hashlib
import secrets
from typing import Final
from urllib.parse import quote

from starlette.datastructures import MutableHeaders
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from aioruns import ConfigurationError
from aioruns.web._assets import Asset
from aioruns.web._edge import host_and_port, own_path
from aioruns.web._problems import Refusal, answer_error

__all__ = ["TokenGate", "check_token"]

_PUBLIC: Final = "/static/"
"""The dashboard's scripts and styles, which are no secret and which the form needs."""


def check_token(token: str) -> str:
    """Return the token if a header can hold it.

    Raises:
        ConfigurationError: A header cannot hold it.
    """
    if not token or not all("!" <= character <= "~" for character in token):
        raise ConfigurationError("a token must consist of visible ASCII characters, without spaces")
    return token


class TokenGate:
    """Passes requests that show the token, as ``Authorization: Bearer`` or as the cookie.

    The page's own address may also contain it, as ``/?token=…``, which sets the cookie. That answer is the page and not
    a redirect: after a link from another site, a browser would omit the ``SameSite=Strict`` cookie.

    Args:
        app: Answers the requests that pass.
        token: The token.
        login: The page that asks for it.
    """

    def __init__(self, app: ASGIApp, token: str, login: Asset) -> None:
        self._app = app
        self._token = _digest(token)
        # Whoever finds the cookie does not have the token, which the user may use for several servers.
        self._cookie = _digest(f"cookie:{token}")
        self._login = login

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request that shows the token, and ask for the token otherwise."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request, path = Request(scope), own_path(scope)
        if path == "/" and self._is_token(request.query_params.get("token", "")):
            await self._app(scope, receive, self._send_with_cookie(request, send))
        elif path.startswith(_PUBLIC) or self._is_known(request):
            await self._app(scope, receive, send)
        else:
            response = await self._ask(request, path)
            await response(scope, receive, send)

    def _is_known(self, request: Request) -> bool:
        scheme, _, given = request.headers.get("authorization", "").partition(" ")
        if scheme.lower() == "bearer" and self._is_token(given.strip()):
            return True
        # Not `request.cookies`: of two cookies with one name, set for nested paths, it keeps only one.
        pairs = (pair.strip().partition("=") for pair in request.headers.get("cookie", "").split(";"))
        ours = _cookie_name(request)
        return any(name == ours and _equal(value, self._cookie) for name, _, value in pairs)

    def _is_token(self, given: str) -> bool:
        return _equal(_digest(given), self._token)

    def _send_with_cookie(self, request: Request, send: Send) -> Send:
        cookie = f"{_cookie_name(request)}={self._cookie}; HttpOnly; SameSite=Strict; Path={_place(request)}"
        if request.url.scheme == "https":
            cookie += "; Secure"

        async def send_with_cookie(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).append("Set-Cookie", cookie)
            await send(message)

        return send_with_cookie

    async def _ask(self, request: Request, path: str) -> Response:
        refusal = Refusal("no-token", "show the server's token: Authorization: Bearer …")
        if path == "/" and request.method in ("GET", "HEAD"):
            response = self._login.answer_as_page(refusal.status_code)
            response.headers.update(refusal.headers or {})
            return response
        return await answer_error(request, refusal)


def _place(request: Request) -> str:
    return quote(request.scope["root_path"]) + "/"


def _cookie_name(request: Request) -> str:
    """Name the cookie after the port: browsers send a cookie to every port of a host, and so to other servers."""
    return f"aioruns-{host_and_port(request.scope)[1] or request.url.scheme}"


def _digest(text: str) -> str:
    """Hash a text to a fixed length, so that comparing does not reveal the length of a secret either."""
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def _equal(given: str, expected: str) -> bool:
    return secrets.compare_digest(given.encode("utf-8", "surrogatepass"), expected.encode())
