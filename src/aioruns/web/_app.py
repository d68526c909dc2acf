"""``create_app``: the API and the dashboard as one ASGI application, to mount or to serve alone."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Mapping
from contextlib import asynccontextmanager, nullcontext
from functools import partial
from typing import Any, Final

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.types import ASGIApp

from aioruns import ConfigurationError, ManagerClosed, RunError, RunManager
from aioruns.web._actions import Authorize
from aioruns.web._assets import Asset, load_assets
from aioruns.web._edge import LOOPBACK, HostCheck, OwnPlace, SecurityHeaders
from aioruns.web._problems import Refusal, answer_error, problems
from aioruns.web._router import runs_router
from aioruns.web._streams import MAX_STREAMS
from aioruns.web._token import TokenGate, check_token

__all__ = ["create_app", "opened"]

API_VERSION: Final = "1"
_TOKEN_SCHEME: Final = {"type": "http", "scheme": "bearer", "description": "The token that the server printed."}


def create_app(
    manager: RunManager,
    *,
    authorize: Authorize | None = None,
    token: str | None = None,
    allowed_hosts: Iterable[str] | None = None,
    max_streams: int = MAX_STREAMS,
) -> FastAPI:
    """Make an application that has the API below ``/api`` and the dashboard at ``/``.

    Mount it in any ASGI application, or serve it alone. Its lifespan opens and closes the manager, unless that is open
    already. Most frameworks do not run the lifespan of a mounted application: open the manager in the parent's.

    Give either ``authorize`` or ``token``.

    Args:
        manager: The manager whose runs the application shows and starts.
        authorize: Decides about every call, including those for the page and its files (``read_dashboard``).
        token: The secret that callers must show; it allows everything. They send it as ``Authorization: Bearer``, or
            open ``/?token=…`` in a browser, which then keeps a cookie.
        allowed_hosts: The host names, without ports, that requests may be for; ``*.example.org`` allows all names below
            one, ``*`` any. By default the names of the loopback interface with a token, and any with ``authorize``.
        max_streams: How many event streams may be open at once.

    Raises:
        ConfigurationError: Neither or both of ``authorize`` and ``token`` are given, or no header can hold the token.
    """
    if (authorize is None) == (token is None):
        raise ConfigurationError(
            "create_app needs either authorize=, which decides about every call, or token=, which callers must show"
        )
    if allowed_hosts is None:
        allowed_hosts = ("*",) if token is None else LOOPBACK

    app = _Application(
        title="aioruns",
        summary="Runs: started, watched, cancelled",
        version=API_VERSION,
        lifespan=lambda _: opened(manager),
        openapi_url=None,  # see _describe
        redirect_slashes=False,
    )
    assets = load_assets()
    refusals = ["wrong-host"]
    if token is not None:
        app.add_middleware(TokenGate, token=check_token(token), login=assets["login.html"])
        refusals.append("no-token")
        authorize = _allow
    assert authorize is not None
    router = runs_router(manager, authorize=authorize, max_streams=max_streams)
    app.include_router(router, prefix="/api", responses=problems(*refusals))
    app.add_route("/api/openapi.json", _checked(authorize, partial(_describe, app, secured=token is not None)))
    _add_dashboard(app, assets, authorize)
    for error in (HTTPException, RequestValidationError, RunError):
        app.add_exception_handler(error, answer_error)
    app.add_exception_handler(Exception, _answer_unexpected)
    app.add_middleware(HostCheck, allowed=tuple(allowed_hosts))
    return app


@asynccontextmanager
async def opened(manager: RunManager) -> AsyncGenerator[None]:
    """Open a manager for the block, unless it is open already."""
    async with nullcontext() if _is_open(manager) else manager:
        yield


def _is_open(manager: RunManager) -> bool:
    try:
        manager.current_run_id()  # which only looks into memory
    except ManagerClosed:
        return False
    return True


class _Application(FastAPI):
    """An application whose outermost layers also see the answers to unexpected errors, unlike FastAPI's middleware."""

    def build_middleware_stack(self) -> ASGIApp:
        return SecurityHeaders(OwnPlace(super().build_middleware_stack()))


def _add_dashboard(app: FastAPI, assets: Mapping[str, Asset], authorize: Authorize) -> None:
    """Add the page and its files."""

    def show_page(request: Request) -> Response:
        return assets["index.html"].answer_as_page()

    def show_asset(request: Request) -> Response:
        if (asset := assets.get(request.path_params["path"])) is None:
            raise HTTPException(404, "the dashboard has no such file")
        return asset.answer(request)

    app.add_route("/", _checked(authorize, show_page))
    app.add_route("/static/{path:path}", _checked(authorize, show_asset))


def _describe(app: FastAPI, request: Request, *, secured: bool) -> Response:
    """Answer with the OpenAPI document; FastAPI's own route would not ask for permission."""
    document: dict[str, Any] = app.openapi() | {"servers": [{"url": request.scope["root_path"] or "/"}]}
    if secured:
        document["components"] = document["components"] | {"securitySchemes": {"token": _TOKEN_SCHEME}}
        document["security"] = [{"token": []}]
    return JSONResponse(document)


def _checked(authorize: Authorize, answer: Callable[[Request], Response]) -> Callable[[Request], Awaitable[Response]]:
    """Make an endpoint outside the API that asks for permission."""

    async def endpoint(request: Request) -> Response:
        if not await authorize(request, "read_dashboard", None):
            raise Refusal("not-allowed", "you may not see the dashboard")
        return answer(request)

    return endpoint


async def _allow(request: Request, action: str, run: object) -> bool:
    """Allow everything: the caller has shown the token."""
    return True


async def _answer_unexpected(request: Request, error: Exception) -> Response:
    """Tell the client nothing about an unexpected error, which the server logs."""
    return await answer_error(request, HTTPException(500, "the server's log says what went wrong"))
