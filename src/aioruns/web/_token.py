"""The token of the stand-alone application: nothing but the form that asks for it is reached without."""

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
"""The dashboard's scripts and styles, which are the same everywhere; the form needs them, too."""


def check_token(token: str) -> str:
    """Return a token if it can be sent in a header.

    Raises:
        ConfigurationError: It cannot.
    """
    if not token or not all("!" <= character <= "~" for character in token):
        raise ConfigurationError("a token consists of visible ASCII characters, without spaces")
    return token


class TokenGate:
    """Lets requests pass that show the token, as ``Authorization: Bearer`` or as the cookie.

    The page's own address may carry it, ``/?token=…``, which sets the cookie. That does not lead elsewhere: a browser
    that comes from another site would leave a ``SameSite=Strict`` cookie out.

    Args:
        app: What answers these requests.
        token: The token.
        login: The page that asks for it.
    """

    def __init__(self, app: ASGIApp, token: str, login: Asset) -> None:
        self._app = app
        self._token = _digest(token)
        # Whoever finds the cookie has not got the token that the user may have given to several servers.
        self._cookie = _digest(f"cookie:{token}")
        self._login = login

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request that shows the token; ask the others for it."""
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
        # Not `request.cookies`: of two of one name, set for paths within each other, it keeps one.
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
    """Name the cookie after the port: browsers send a cookie to every port of a host, where other servers may be."""
    return f"aioruns-{host_and_port(request.scope)[1] or request.url.scheme}"


def _digest(text: str) -> str:
    """Return text of one length, so that comparing tells nothing of the length of a secret either."""
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def _equal(given: str, expected: str) -> bool:
    return secrets.compare_digest(given.encode("utf-8", "surrogatepass"), expected.encode())
