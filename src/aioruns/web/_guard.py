"""Guard the endpoints: refuse other sites and bodies that are not JSON, and answer the errors that endpoints raise."""

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
"""The most bytes in the body of a request."""

MAX_FIELDS: Final = 100
"""The most fields in a body, known or unknown."""

_ERRORS: Final = (HTTPException, RequestValidationError, RunError, TooManyStreams, ClientDisconnect)


class GuardedRoute(APIRoute):
    """A route that refuses other sites and bodies that are not JSON, and answers its errors itself.

    So a router of such routes needs nothing from the application that includes it, and changes nothing there. Each
    router has a subclass of its own, through which its routes find the router's service and each other.
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
        """Make the function that answers a request."""
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
        """Answer a request, even if its method is not allowed."""
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
    """Refuse a request that a page of another site makes a browser send.

    Browsers tell where a request comes from in ``Sec-Fetch-Site`` (Fetch Metadata), older ones only in ``Origin``. A
    client that sends neither is not a browser.
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
    """Compare names and ports, but not schemes: a proxy may have removed TLS."""
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
    """Receive a body until it is too large, whatever the request says about its size."""
    left = MAX_BODY

    async def receive_some() -> Message:
        nonlocal left
        message = await receive()
        left -= len(message.get("body", b""))
        if left < 0:
            raise Refusal("body-too-large", f"a body may have at most {MAX_BODY:,} bytes")
        return message

    return receive_some


class JSONRequest(Request):
    """A request whose body, if it has one, is unambiguous JSON (RFC 8259)."""

    async def check(self) -> None:
        """Read the body, and refuse it unless it is declared as plain JSON."""
        if not await self.body():
            return
        declared = self.headers.get("content-type", "").partition(";")[0].strip().lower()
        if declared != "application/json" or "content-encoding" in self.headers:
            raise Refusal("body-not-json", "send the body as it is, with Content-Type: application/json")

    async def json(self) -> Any:
        """Decode the body: UTF-8, each name once per object, and strictly JSON."""
        try:
            text = (await self.body()).decode()
            value = json.loads(text, object_pairs_hook=_unique, parse_float=_finite, parse_constant=_finite)
            if "\\u" in text:
                json.dumps(value, ensure_ascii=False).encode()  # fails on half a pair of surrogates
        except RecursionError:
            raise Refusal("malformed-json", "the body is nested too deeply") from None
        except ValueError as error:
            raise Refusal("malformed-json", str(error)) from None
        _check_fields(value)
        return value


def _check_fields(value: object) -> None:
    """Refuse very many fields at once; to find each of them unknown would take a second or so."""
    if isinstance(value, dict) and len(fields := cast("dict[str, Any]", value)) > MAX_FIELDS:
        raise invalid(("body", "body", f"it has {len(fields):,} fields, but no request takes more than a dozen"))


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
        raise ValueError(f"{text} is not a number that JSON and a float can hold")
    return number
