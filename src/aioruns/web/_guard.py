"""The way into an endpoint, which other sites and bodies that are not JSON do not find, and its errors' way out."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Coroutine
from typing import Any, ClassVar, Final, cast
from urllib.parse import urlsplit

from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import Message, Receive, Scope, Send

from aioruns import RunError
from aioruns.web._problems import Refusal, answer_error, invalid
from aioruns.web._service import SERVICE, Service
from aioruns.web._streams import TooManyStreams

__all__ = ["MAX_BODY", "GuardedRoute"]

MAX_BODY: Final = 2 * 1024 * 1024
"""Bytes that the body of a request may have."""

MAX_FIELDS: Final = 100
"""Fields that a body may have, known or unknown."""

_ERRORS: Final = (HTTPException, RequestValidationError, RunError, TooManyStreams, ClientDisconnect)


class GuardedRoute(APIRoute):
    """A route that refuses other sites and bodies that are not JSON, and answers its errors itself.

    So a router of such routes needs nothing of the application that it is included in, and changes nothing there.
    Each router has a subclass of its own: that is where its routes find the router's service, and each other.
    """

    service: ClassVar[Service]
    siblings: ClassVar[list[GuardedRoute]]

    @classmethod
    def of(cls, service: Service) -> type[GuardedRoute]:
        """Make the class of the routes of one router."""
        return type(cls.__name__, (cls,), {"service": service, "siblings": []})

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.siblings.append(self)

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """Make what answers a request."""
        handle = super().get_route_handler()

        async def guarded(request: Request) -> Response:
            request.scope[SERVICE] = self.service
            try:
                if request.method not in ("GET", "HEAD"):
                    refuse_other_sites(request)
                    request = JSONRequest(request.scope, _limited(request.receive))
                    await request.check()
                return await handle(request)
            except _ERRORS as error:
                return await answer_error(request, error)

        return guarded

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer, also to methods that are not allowed."""
        try:
            await super().handle(scope, receive, send)
        except HTTPException as error:
            if error.status_code != 405:
                raise
            same_path = (route.methods for route in self.siblings if route.path_format == self.path_format)
            error.headers = {"Allow": ", ".join(sorted({method for methods in same_path for method in methods or ()}))}
            response = await answer_error(Request(scope), error)
            await response(scope, receive, send)


def refuse_other_sites(request: Request) -> None:
    """Refuse what a page of another site makes a browser send.

    Browsers say where a request comes from with ``Sec-Fetch-Site`` (Fetch Metadata), older ones with ``Origin`` only.
    What says neither is no browser.
    """
    site = request.headers.get("sec-fetch-site")
    if site is not None:
        same = site in ("same-origin", "none")
    else:
        origin = request.headers.get("origin")
        same = origin is None or _is_host(origin, request.headers.get("host", ""))
    if not same:
        raise Refusal("cross-site", "pages of other sites may not change anything here")


def _is_host(origin: str, host: str) -> bool:
    """Compare names and ports; not the schemes, since a proxy may have taken TLS off."""
    try:
        theirs = urlsplit(origin)
        ours = urlsplit(f"{theirs.scheme}://{host}")
        default = {"http": 80, "https": 443}.get(theirs.scheme)
        return theirs.hostname is not None and (theirs.hostname, theirs.port or default) == (
            ours.hostname,
            ours.port or default,
        )
    except ValueError:
        return False


def _limited(receive: Receive) -> Receive:
    """Receive a body as long as it is not too large, whatever it says about its size."""
    left = MAX_BODY

    async def receive_some() -> Message:
        nonlocal left
        message = await receive()
        left -= len(message.get("body", b""))
        if left < 0:
            raise Refusal("body-too-large", f"a body may have {MAX_BODY:,} bytes")
        return message

    return receive_some


class JSONRequest(Request):
    """A request whose body, if it has one, is JSON (RFC 8259) that means one thing only."""

    async def check(self) -> None:
        """Read the body, and refuse one that is not declared as plain JSON."""
        if not await self.body():
            return
        declared = self.headers.get("content-type", "").partition(";")[0].strip().lower()
        if declared != "application/json" or "content-encoding" in self.headers:
            raise Refusal("body-not-json", "send the body as it is, with Content-Type: application/json")

    async def json(self) -> Any:
        """Decode the body: UTF-8, each name once in an object, and nothing that JSON does not have."""
        try:
            text = (await self.body()).decode()
            value = json.loads(text, object_pairs_hook=_unique, parse_float=_finite, parse_constant=_finite)
            if "\\u" in text:
                json.dumps(value, ensure_ascii=False).encode()  # fails on half a pair of surrogates
        except RecursionError:
            raise Refusal("malformed-json", "it is nested too deeply") from None
        except ValueError as error:
            raise Refusal("malformed-json", str(error)) from None
        _check_fields(value)
        return value


def _check_fields(value: object) -> None:
    """Refuse very many fields before each of them is found to be unknown, which takes a second or so."""
    if isinstance(value, dict) and len(fields := cast("dict[str, Any]", value)) > MAX_FIELDS:
        raise invalid(("body", "body", f"it has {len(fields):,} fields, of which no request has a dozen"))


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in pairs:
        if name in found:
            raise ValueError(f"the name {name!r} occurs twice in an object")
        found[name] = value
    return found


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(f"{text} is no number that JSON or a float can hold")
    return number
