"""Errors as ``application/problem+json`` (RFC 9457). Only this module knows which status an error has."""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus
from types import MappingProxyType
from typing import Any, Final, NamedTuple

import msgspec
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from aioruns import (
    ConfigurationError,
    ManagerClosed,
    RunAlreadyFinished,
    RunConflict,
    RunNotFound,
    StoreUnavailable,
)
from aioruns._jobs.arguments import ArgumentError
from aioruns.web._streams import TooManyStreams

__all__ = ["Refusal", "answer_error", "invalid", "problems"]

MEDIA_TYPE: Final = "application/problem+json"
RETRY_AFTER: Final = 5
"""Seconds after which clients may try an unavailable store again."""
MAX_ERRORS: Final = 100
"""How many mistakes of one request the answer names; a body of two megabytes may have very many."""


class _Kind(NamedTuple):
    """A kind of problem: its status and title, and the members and headers that it has besides the usual ones."""

    status: int
    title: str
    members: Mapping[str, Any] = MappingProxyType({})
    headers: Mapping[str, str] = MappingProxyType({})


_ACTIVE_RUN: Final = {"active_run_id": {"type": "integer", "description": "The run that holds the key."}}
_ERRORS: Final = {
    "errors": {
        "type": "array",
        "minItems": 1,
        "items": {
            "type": "object",
            "properties": {
                "name": {"type": "string", "description": "The argument, field or parameter that is wrong."},
                "in": {
                    "enum": ["argument", "body", "query", "path", "header"],
                    "description": "Where it is; `argument` means an argument of the job.",
                },
                "detail": {"type": "string", "description": "What is wrong with it."},
            },
            "required": ["name", "in", "detail"],
            "additionalProperties": False,
        },
    }
}
_LATER: Final = {"Retry-After": str(RETRY_AFTER)}

_KINDS: Final = {
    "malformed-json": _Kind(400, "The body is not JSON"),
    "body-incomplete": _Kind(400, "The body did not arrive completely"),
    "no-token": _Kind(401, "A valid token is needed", headers={"WWW-Authenticate": "Bearer"}),
    "not-allowed": _Kind(403, "Not allowed"),
    "cross-site": _Kind(403, "The request comes from another site"),
    "run-not-found": _Kind(404, "No such run"),
    "job-not-found": _Kind(404, "No such job"),
    "run-conflict": _Kind(409, "The key is held", _ACTIVE_RUN),
    "idempotency-conflict": _Kind(409, "The idempotency key belongs to another job"),
    "run-already-finished": _Kind(409, "The run has ended"),
    "run-not-retryable": _Kind(409, "The run cannot be retried"),
    "body-too-large": _Kind(413, "The body is too large"),
    "body-not-json": _Kind(415, "The body is not declared as JSON"),
    "wrong-host": _Kind(421, "The server does not answer to this name"),
    "invalid-request": _Kind(422, "The request is not valid", _ERRORS),
    "store-unavailable": _Kind(503, "The store is not available", headers=_LATER),
    "manager-closed": _Kind(503, "The server is starting or stopping", headers=_LATER),
    "too-many-streams": _Kind(503, "Too many open streams", headers=_LATER),
}


class Refusal(HTTPException):
    """The server refuses a request, with a problem of a known kind.

    Args:
        kind: One of the names in ``_KINDS``.
        detail: What is wrong this time.
        **members: Further members of the problem.
    """

    def __init__(self, kind: str, detail: str, **members: Any) -> None:
        status, self.title, _, headers = _KINDS[kind]
        super().__init__(status, detail, dict(headers))
        self.type = f"urn:aioruns:{kind}"
        self.members = members


def invalid(*mistakes: tuple[str, str, str]) -> Refusal:
    """Make the refusal of an invalid request.

    Args:
        *mistakes: For each, the name of the wrong value, where it is, and what is wrong with it.
    """
    errors = [{"name": name[:200], "in": where, "detail": detail} for name, where, detail in mistakes[:MAX_ERRORS]]
    more = f"; and {len(mistakes) - 1} more" if len(mistakes) > 1 else ""
    return Refusal("invalid-request", f"{errors[0]['name']}: {errors[0]['detail']}{more}", errors=errors)


def _refusal(error: Exception) -> HTTPException | None:
    match error:
        case HTTPException():
            return error
        case RequestValidationError():
            return invalid(*map(_mistake, error.errors()))
        case ArgumentError():
            return invalid(*((name, "argument", detail) for name, detail in error.problems))
        case ConfigurationError():
            return invalid(("body", "body", str(error)))
        case RunNotFound():
            return Refusal("run-not-found", str(error))
        case RunConflict():
            return Refusal("run-conflict", str(error), active_run_id=error.active_run_id)
        case RunAlreadyFinished():
            return Refusal("run-already-finished", str(error))
        case StoreUnavailable():  # whose message may name files
            return Refusal("store-unavailable", "the store cannot be reached at the moment: try again later")
        case ManagerClosed():
            return Refusal("manager-closed", str(error))
        case TooManyStreams():
            return Refusal("too-many-streams", str(error))
        case ClientDisconnect():
            return Refusal("body-incomplete", "the client went away before the body had arrived")
        case _:
            return None


def _mistake(error: Mapping[str, Any]) -> tuple[str, str, str]:
    where, *path = error["loc"]
    return ".".join(map(str, path)) or where, where, error["msg"]


async def answer_error(request: Request, error: Exception) -> Response:
    """Answer an error with its problem; serves as an exception handler.

    Raises:
        Exception: The error itself, if clients must not learn about it.
    """
    refusal = _refusal(error)
    if refusal is None:
        raise error
    if refusal.status_code < HTTPStatus.OK or refusal.status_code in (HTTPStatus.NO_CONTENT, HTTPStatus.NOT_MODIFIED):
        return Response(status_code=refusal.status_code, headers=refusal.headers)  # these statuses allow no body
    known = isinstance(refusal, Refusal)
    problem = {
        "type": refusal.type if known else "about:blank",
        "title": refusal.title if known else HTTPStatus(refusal.status_code).phrase,
        "status": refusal.status_code,
        "detail": str(refusal.detail),
        **(refusal.members if known else {}),
    }
    return Response(msgspec.json.encode(problem), refusal.status_code, refusal.headers, MEDIA_TYPE)


def problems(*kinds: str) -> dict[int | str, dict[str, Any]]:
    """Describe problems for an OpenAPI document, as ``responses=`` takes them.

    The schemas stand inline, because FastAPI collects only models of its own media type.
    """
    by_status: dict[int | str, list[str]] = {}
    for kind in kinds:
        by_status.setdefault(_KINDS[kind].status, []).append(kind)
    return {status: _describe(status, names) for status, names in sorted(by_status.items())}


def _describe(status: int | str, names: list[str]) -> dict[str, Any]:
    kinds = [_KINDS[name] for name in names]
    members = {name: schema for kind in kinds for name, schema in kind.members.items()}
    always = [name for name in members if all(name in kind.members for kind in kinds)]
    schema = {
        "type": "object",
        "title": "Problem",
        "properties": {
            "type": {"enum": [f"urn:aioruns:{name}" for name in names], "description": "The kind of problem."},
            "title": {"type": "string", "description": "The kind in words."},
            "status": {"const": status},
            "detail": {"type": "string", "description": "What is wrong this time, for people to read."},
            **members,
        },
        "required": ["type", "title", "status", "detail", *always],
    }
    answer: dict[str, Any] = {
        "description": "; ".join(kind.title for kind in kinds),
        "content": {MEDIA_TYPE: {"schema": schema}},
    }
    if headers := {name for kind in kinds for name in kind.headers}:
        answer["headers"] = {name: {"required": True, "schema": {"type": "string"}} for name in headers}
    return answer
