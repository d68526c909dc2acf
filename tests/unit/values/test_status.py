"""The table of statuses against the life that the documents promise."""

from __future__ import annotations

import itertools

import pytest

from aioruns import RunStatus
from aioruns._values.status import ACTIVE, TERMINAL, TRANSITIONS, ending, is_allowed

PROMISED = """
    pending     -> running | cancelled | failed | interrupted
    running     -> completed | failed | cancelling | interrupted | pending
    cancelling  -> cancelled | completed | failed | interrupted
"""


def promised() -> set[tuple[RunStatus, RunStatus]]:
    lines = [line.split("->") for line in PROMISED.strip().splitlines()]
    return {
        (RunStatus(before.strip()), RunStatus(after.strip())) for before, many in lines for after in many.split("|")
    }


PAIRS = list(itertools.product(RunStatus, repeat=2))


def test_T1_the_table_allows_what_is_promised_and_nothing_else() -> None:
    assert {pair for pair in PAIRS if is_allowed(*pair)} == promised()


def test_T1_what_has_ended_has_no_successor_and_everything_active_has_one() -> None:
    assert set(TRANSITIONS) == set(RunStatus)
    assert {status.value for status in TERMINAL} == {"completed", "failed", "cancelled", "interrupted"}
    assert set(RunStatus) - TERMINAL == ACTIVE
    assert [status.active for status in RunStatus] == [status in ACTIVE for status in RunStatus]
    assert all(TRANSITIONS[status] for status in ACTIVE)


def test_T2_completed_is_reached_from_running_or_cancelling_only() -> None:
    assert {before for before, after in promised() if after == "completed"} == {"running", "cancelling"}
    assert not is_allowed(RunStatus.PENDING, RunStatus.COMPLETED)


def test_the_table_cannot_be_changed() -> None:
    with pytest.raises(TypeError):
        TRANSITIONS[RunStatus.COMPLETED] = frozenset(RunStatus)  # type: ignore[index]


def test_V2_an_unknown_status_raises() -> None:
    with pytest.raises(ValueError, match="'finished' is not a valid RunStatus"):
        RunStatus("finished")


@pytest.mark.parametrize(
    ("returned", "cancel_requested", "interrupting", "status"),
    [
        (True, False, False, "completed"),
        (True, True, False, "completed"),
        (True, False, True, "completed"),
        (True, True, True, "completed"),
        (False, False, False, "failed"),
        (False, True, False, "cancelled"),
        (False, True, True, "cancelled"),
        (False, False, True, "interrupted"),
    ],
)
def test_C4_an_end_is_classified_by_what_came_out_and_what_was_asked(
    returned: bool, cancel_requested: bool, interrupting: bool, status: str
) -> None:
    assert ending(returned=returned, cancel_requested=cancel_requested, interrupting=interrupting) == status
