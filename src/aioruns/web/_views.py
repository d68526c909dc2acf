"""Requests and answers: pydantic models check them and make the OpenAPI document, msgspec makes the bytes.

The models of answers define which attributes of a value the API shows. msgspec copies stored JSON as it is, so neither
the size nor the depth of a job's result matters here.
"""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Final, Literal

import msgspec
from pydantic import BaseModel, ConfigDict, Field, JsonValue, ValidationInfo, field_validator
from pydantic_core import PydanticCustomError
from starlette.responses import Response

from aioruns import Run, RunEvent, RunStatus

__all__ = [
    "MAX_ID",
    "CancelRequest",
    "EventPage",
    "EventView",
    "Health",
    "JobList",
    "JobView",
    "Name",
    "ProgressView",
    "RunPage",
    "RunSummary",
    "RunView",
    "StartRequest",
    "answer",
    "event_json",
    "run_json",
    "summary_json",
]

MAX_ID: Final = 2**63 - 1
"""The highest possible id of a run."""

Name = Annotated[str, Field(min_length=1, max_length=512, pattern=r"^[^\x00-\x1f\x7f-\x9f]*$")]
"""A key, a tag or the like, as the manager takes it."""


class _Asked(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class StartRequest(_Asked):
    """Which run to start."""

    model_config = ConfigDict(
        json_schema_extra={
            "if": {"properties": {"on_conflict": {"const": "join"}}, "required": ["on_conflict"]},
            "then": {"properties": {"key": {"type": "string"}}, "required": ["key"]},
        }
    )

    job: Name = Field(description="Name of the job.")
    args: dict[str, Any] = Field(default={}, description="Arguments by name, as `GET /jobs` describes them.")
    key: Name | None = Field(default=None, description="What the run is exclusive over.")
    on_conflict: Literal["reject", "join"] = Field(
        default="reject",
        description="If the key is held, `reject` answers 409, and `join` answers with the run that holds it.",
    )
    idempotency_key: Name | None = Field(
        default=None, description="Name of this start: a second start with it answers with the first one's run."
    )
    timeout: float | None = Field(
        default=None,
        gt=0,
        allow_inf_nan=False,
        description="Seconds that one attempt may execute; null for the job's own.",
    )
    tags: list[Name] = Field(default=[], max_length=100, description="Labels by which to find the run.")
    triggered_by: Name | None = Field(default="http", description="Who or what starts the run.")

    @field_validator("on_conflict")
    @classmethod
    def _check_join(cls, value: str, info: ValidationInfo) -> str:
        if value == "join" and info.data.get("key", "") is None:
            raise PydanticCustomError("key_needed", "'join' needs a key: without one there is no run to join")
        return value


class CancelRequest(_Asked):
    """Why a run is to end."""

    reason: str | None = Field(default=None, description="Why, cut to 1 KiB; readers of the run see it.")


class ProgressView(BaseModel):
    """How far a run has come."""

    current: float
    total: float | None
    step: str | None
    message: str | None


class RunSummary(BaseModel):
    """A run in a list. Times are UTC, durations seconds."""

    id: int
    job: str
    status: RunStatus
    active: bool = Field(description="Whether it has not ended.")
    key: str | None
    attempt: int
    timeout: float | None = Field(description="Seconds that one attempt may execute; null for no limit.")
    tags: list[str]
    triggered_by: str | None
    retry_of: int | None = Field(description="The run that this one retries.")
    error: str | None = Field(description="What ended it, unless it is active or `completed`.")
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    cancel_requested_at: datetime | None
    cancel_reason: str | None
    progress: ProgressView | None


class RunView(RunSummary):
    """A run with everything that is known about it."""

    idempotency_key: str | None
    arguments: dict[str, Any] | None = Field(description="By name; null for a bare coroutine.")
    result: JsonValue = Field(description="What its function returned.")
    traceback: str | None = Field(description="Null also for callers that may not read tracebacks.")


class RunPage(BaseModel):
    """Runs, newest first."""

    items: list[RunSummary]
    next: int | None = Field(description="`before` of the next page; null if there is none.")


class EventView(BaseModel):
    """One entry of a run's stream."""

    run_id: int
    seq: int
    at: datetime
    kind: str
    attempt: int
    data: JsonValue
    run: RunView | None = Field(default=None, description="The ended run; only in its last event.")


class EventPage(BaseModel):
    """Events in order."""

    items: list[EventView]
    next: int | None = Field(description="`after` of the next page; null once the last event of the run has been read.")


class JobView(BaseModel):
    """A job that can be started."""

    name: str
    description: str
    arguments: dict[str, Any] = Field(description="JSON Schema (2020-12) of `args`.")
    timeout: float | None = Field(description="Seconds that one attempt may execute; null for no limit.")
    cancel_grace: float | None = Field(description="Seconds between asking a function to end and cancelling its task.")


class JobList(BaseModel):
    """The jobs that can be started by name."""

    items: list[JobView]


class Health(BaseModel):
    """The server is healthy."""

    status: Literal["ok"]


def summary_json(run: Run) -> dict[str, Any]:
    """Show a run in a list."""
    return {name: getattr(run, name) for name in RunSummary.model_fields}


def run_json(run: Run, *, traceback: bool) -> dict[str, Any]:
    """Show a run, with or without its traceback."""
    return summary_json(run) | {
        "idempotency_key": run.idempotency_key,
        "arguments": _stored(run.arguments_json),
        "result": _stored(run.result_json),
        "traceback": run.traceback if traceback else None,
    }


def event_json(event: RunEvent, *, traceback: bool) -> dict[str, Any]:
    """Show an event, with or without the traceback of a log line."""
    data: Any = _stored(event.data_json)
    if not traceback and event.kind == "log" and '"traceback"' in event.data_json:
        line = event.data
        data = {name: None if name == "traceback" else value for name, value in line.items()}
    return {
        "run_id": event.run_id,
        "seq": event.seq,
        "at": event.at,
        "kind": event.kind,
        "attempt": event.attempt,
        "data": data,
    }


def _stored(text: str | None) -> msgspec.Raw | None:
    return None if text is None else msgspec.Raw(text)


def answer(value: Any, status: int = 200, *, location: str | None = None) -> Response:
    """Answer with a value as JSON, and with its location if given."""
    headers = None if location is None else {"Location": location}
    return Response(msgspec.json.encode(value), status, headers, "application/json")
