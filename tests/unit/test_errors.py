"""A2, A3: every error is its own type, carries its ids, says what to do, and survives pickling."""

from __future__ import annotations

import copy
import pickle
import re
from datetime import UTC, datetime

import pytest

import aioruns
from aioruns import Run, RunError, RunStatus, errors

RUN = Run(
    id=7,
    job="build",
    status=RunStatus.FAILED,
    created_at=datetime(2024, 5, 6, tzinfo=UTC),
    finished_at=datetime(2024, 5, 7, tzinfo=UTC),
    error="ValueError: no such scope",
)
CANCELLED = Run(
    id=8, job="build", status=RunStatus.CANCELLED, created_at=RUN.created_at, finished_at=RUN.finished_at,
    cancel_reason="too slow",
)  # fmt: skip

SAMPLES: list[tuple[RunError, str, dict[str, object]]] = [
    (errors.ConfigurationError("the key must not be empty"), "the key must not be empty", {}),
    (errors.ManagerClosed("not open"), "not open", {}),
    (errors.StoreUnavailable("locked"), "locked", {}),
    (errors.RunNotFound(7), "no run has the id 7: it was never stored, or has been pruned", {"run_id": 7}),
    (
        errors.RunConflict("project:3", 7),
        "the key 'project:3' is held by run 7: wait for it, cancel it, or join it",
        {"key": "project:3", "active_run_id": 7},
    ),
    (errors.RunAlreadyFinished(RUN), "run 7 (build) has already finished: it is failed", {"run": RUN}),
    (errors.RunFailed(RUN), "run 7 (build) failed: ValueError: no such scope", {"run": RUN}),
    (errors.RunCancelled(CANCELLED), "run 8 (build) was cancelled: too slow", {"run": CANCELLED}),
    (errors.RunInterrupted(RUN), "run 7 (build) was interrupted: ValueError: no such scope", {"run": RUN}),
    (
        errors.LeaseLost(7),
        "run 7 no longer belongs to this manager: another one has rescued it",
        {"run_id": 7},
    ),
]
parametrize = pytest.mark.parametrize(
    ("error", "message", "ids"), SAMPLES, ids=[type(error).__name__ for error, _, _ in SAMPLES]
)


@parametrize
def test_error_says_what_happened_and_carries_its_ids(error: RunError, message: str, ids: dict[str, object]) -> None:
    assert str(error) == message
    assert {name: getattr(error, name) for name in ids} == ids


@parametrize
def test_error_survives_pickling_and_copying(error: RunError, message: str, ids: dict[str, object]) -> None:
    for twin in (pickle.loads(pickle.dumps(error)), copy.copy(error), copy.deepcopy(error)):
        assert type(twin) is type(error)
        assert str(twin) == message
        assert {name: getattr(twin, name) for name in ids} == ids


def test_error_without_a_reason_ends_in_no_colon() -> None:
    run = Run(id=9, job="build", status=RunStatus.CANCELLED, created_at=RUN.created_at)
    assert str(errors.RunCancelled(run)) == "run 9 (build) was cancelled"


def test_A2_each_error_is_a_type_of_its_own_under_one_base() -> None:
    kinds = {type(error) for error, _, _ in SAMPLES}
    assert kinds | {RunError} == {getattr(errors, name) for name in errors.__all__}
    assert all(issubclass(kind, RunError) for kind in kinds)
    assert not [(one, other) for one in kinds for other in kinds if one is not other and issubclass(one, other)]


def test_errors_are_exported_and_printed_as_a_tree() -> None:
    assert set(errors.__all__) <= set(aioruns.__all__)
    assert errors.__doc__ is not None
    assert set(re.findall(r"─ (\w+)", errors.__doc__)) | {"RunError"} == set(errors.__all__)
