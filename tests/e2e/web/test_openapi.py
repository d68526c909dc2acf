"""The OpenAPI document is exact: schemathesis asks a real server everything that may be asked, and what may not."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import schemathesis
from anyio.from_thread import start_blocking_portal
from fastapi import FastAPI
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from schemathesis import Case, GenerationMode
from tests.support import Puppet
from tests.web_support import add, echo, fail, serving, talk

from aioruns import RunManager, RunStatus
from aioruns.web import runs_router

JOBS = (add, echo, talk, fail)
"""They end, whatever they are given."""

INTEGERS = st.integers(-(2**63), 2**63 - 1)
ARGUMENTS = {
    add: st.fixed_dictionaries({"left": INTEGERS}, optional={"right": INTEGERS}),
    echo: st.fixed_dictionaries(
        {},
        optional={
            "text": st.text(max_size=200),
            "times": st.none() | INTEGERS,
            "options": st.none()
            | st.dictionaries(st.text(), st.text() | st.floats(allow_nan=False, allow_infinity=False)),
            "mode": st.sampled_from(["plain", "loud"]),
        },
    ),
    talk: st.fixed_dictionaries({"lines": st.integers(0, 20)}),
    fail: st.fixed_dictionaries({}, optional={"why": st.text()}),
}


def application(manager: RunManager) -> FastAPI:
    app = FastAPI()
    app.include_router(runs_router(manager), prefix="/api")
    return app


def document() -> dict[str, Any]:
    return application(RunManager("never-opened.db")).openapi()


# The reading ones first: of the runs that the server begins with, the others leave none as it was.
OPERATIONS = {
    f"{method.upper()} {path}": operation
    for method in ("get", "post")
    for path, methods in document()["paths"].items()
    for name, operation in methods.items()
    if name == method
}
TAKING = [name for name, operation in OPERATIONS.items() if operation.keys() & {"parameters", "requestBody"}]


def test_every_error_is_a_problem_and_none_is_of_fastapis_own_shape() -> None:
    for name, operation in OPERATIONS.items():
        errors = {int(status): answer for status, answer in operation["responses"].items() if int(status) >= 400}
        assert 403 in errors, name
        assert all([*answer["content"]] == ["application/problem+json"] for answer in errors.values()), name
        assert all("Retry-After" in answer["headers"] for status, answer in errors.items() if status == 503), name
        assert all("errors" in _problem(answer)["required"] for status, answer in errors.items() if status == 422), name
    assert not {"ValidationError", "HTTPValidationError"} & document()["components"]["schemas"].keys()


def _problem(answer: dict[str, Any]) -> dict[str, Any]:
    return answer["content"]["application/problem+json"]["schema"]


def test_what_is_special_about_an_answer_is_described() -> None:
    for call in "POST /api/runs", "POST /api/runs/{run_id}/retry":
        assert OPERATIONS[call]["responses"]["202"]["headers"]["Location"]["required"]
    answers = OPERATIONS["GET /api/runs/{run_id}/events"]["responses"]
    assert {*answers["200"]["content"]} == {"application/json", "text/event-stream"}
    assert "content" not in answers["204"]
    assert (
        _problem(OPERATIONS["POST /api/runs"]["responses"]["409"])["properties"]["active_run_id"]["type"] == "integer"
    )


class Live(NamedTuple):
    """A server that is running, its document as it gives it, and its runs with the statuses that they keep."""

    schema: Any
    runs: dict[int, RunStatus]


@contextlib.asynccontextmanager
async def world(database: Path) -> AsyncIterator[tuple[str, dict[int, RunStatus]]]:
    """Serve a store with runs in every status; gives the server's URL, and the runs."""
    puppet = Puppet()
    async with RunManager(database, shutdown_grace=0) as gone:
        await gone.start_run(puppet.job(1), key="interrupted")
        await puppet.enters(1)
    async with (
        RunManager(database, max_running=2, shutdown_grace=0) as other,
        RunManager(database, jobs=JOBS, shutdown_grace=0) as manager,
    ):
        try:
            stubborn = await other.start_run(puppet.stubborn(2), key="cancelling")
            await puppet.enters(2)
            await stubborn.cancel("it takes too long")
            await other.start_run(puppet.stubborn(3), key="running")
            await (await other.start_run(puppet.job(4), key="cancelled")).cancel()
            await other.start_run(puppet.job(5), key="pending")
            for call in add(1), echo(), talk(), fail():
                await (await manager.start_run(call, key="ended", tags=["a", "b"])).wait()
            runs = {run.id: run.status for run in await manager.list_runs()}
            assert set(runs.values()) == set(RunStatus), runs
            async with serving(application(manager)) as url:
                yield url, runs
        finally:
            puppet.end(2)
            puppet.end(3)


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    database = tmp_path_factory.mktemp("live") / "runs.db"
    with start_blocking_portal() as portal, portal.wrap_async_context_manager(world(database)) as (url, runs):
        yield Live(schemathesis.openapi.from_url(f"{url}/openapi.json"), runs)


def attempts(number: int) -> settings:
    return settings(
        max_examples=number,
        deadline=None,
        derandomize=True,
        database=None,
        suppress_health_check=[HealthCheck.filter_too_much, HealthCheck.too_slow, HealthCheck.data_too_large],
    )


def aim(data: st.DataObject, case: Case, live: Live) -> None:
    """Let a case concern what there is: schemathesis cannot know it."""
    if "run_id" in case.path_parameters and data.draw(st.booleans()):
        case.path_parameters["run_id"] = data.draw(st.sampled_from(sorted(live.runs)))
    if "events" in case.path and live.runs.get(case.path_parameters["run_id"], RunStatus.COMPLETED).active:
        case.headers["Accept"] = "application/json"  # a stream would go on for as long as the run
    if isinstance(case.body, dict) and "job" in case.body and data.draw(st.booleans()):
        job = data.draw(st.sampled_from(JOBS))
        case.body |= {"job": job.name, "args": data.draw(ARGUMENTS[job])}


@pytest.mark.proof
@pytest.mark.parametrize("operation", OPERATIONS)
def test_valid_requests_are_answered_as_the_document_says(
    operation: str, live: Live, scale: Callable[..., int], tally: Callable[..., None]
) -> None:
    method, path = operation.split()

    @attempts(scale(quick=25, full=1000, soak=20_000))
    @given(live.schema[path][method].as_strategy(), st.data())
    def conforms(case: Case, data: st.DataObject) -> None:
        aim(data, case, live)
        tally("valid HTTP requests")
        case.call_and_validate(timeout=60)

    conforms()


@pytest.mark.proof
@pytest.mark.parametrize("operation", TAKING)
def test_invalid_requests_are_refused_as_the_document_says(
    operation: str, live: Live, scale: Callable[..., int], tally: Callable[..., None]
) -> None:
    method, path = operation.split()

    @attempts(scale(quick=25, full=1000, soak=20_000))
    @given(live.schema[path][method].as_strategy(generation_mode=GenerationMode.NEGATIVE))
    def conforms(case: Case) -> None:
        tally("invalid HTTP requests")
        case.call_and_validate(timeout=60)

    conforms()
