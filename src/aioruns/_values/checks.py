"""Checks of what callers give: a value that makes sense comes back, anything else raises before anything is written."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Final

from aioruns._values.times import to_micros
from aioruns.errors import ConfigurationError, RunNotFound

__all__ = [
    "MAX_NAME",
    "check_after",
    "check_id",
    "check_limit",
    "check_periods",
    "check_seconds",
    "check_tags",
    "check_text",
]

MAX_PAGE: Final = 1000
"""Runs or events that may be read at once."""
MAX_COUNTED: Final = 1_000_000
"""Runs that may be counted at once."""


def check_tags(tags: Iterable[str] | None) -> tuple[str, ...]:
    """Sort labels and drop doubles.

    Raises:
        ConfigurationError: They are one string, or hold something that is not a non-empty string.
    """
    if tags is None:
        return ()
    if isinstance(tags, str):
        raise ConfigurationError(f"tags={tags!r} is one string; give a list of strings, e.g. tags=[{tags!r}]")
    try:
        labels = tuple(tags)
    except TypeError:
        raise ConfigurationError(f"tags must be a list of strings, not {type(tags).__name__}") from None
    return tuple(sorted({check_text(label, what="a tag") for label in labels}))


_UNFIT = re.compile("[\x00-\x1f\x7f-\x9f\ud800-\udfff]")

MAX_NAME = 512
"""Characters that a key, a tag, a job's name and the like may have."""


def check_text(text: object, *, what: str) -> str:
    """Return text that is fit to be a name in the store.

    Raises:
        ConfigurationError: It is no string, empty, too long, or holds control characters or lone surrogates.
    """
    if not isinstance(text, str):
        raise ConfigurationError(f"{what} must be a string, not {type(text).__name__}")
    if not text:
        raise ConfigurationError(f"{what} must not be empty; leave it out instead")
    if len(text) > MAX_NAME:
        raise ConfigurationError(f"{what} has {len(text)} characters; at most {MAX_NAME} are allowed")
    if _UNFIT.search(text):
        raise ConfigurationError(f"{what} {text!r} holds control characters or lone surrogates; remove them")
    return text


def check_seconds(seconds: float | None, *, what: str, zero: bool = False) -> float | None:
    """Return a duration that makes sense, in float seconds; ``math.inf`` for no limit.

    Raises:
        ConfigurationError: It is no number, negative, or NaN; or zero, unless ``zero`` allows it.
    """
    if seconds is None:
        return None
    if isinstance(seconds, bool) or not isinstance(seconds, (int, float)):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise ConfigurationError(f"{what} must be a number of seconds, not {type(seconds).__name__}")
    if math.isnan(seconds) or seconds < 0 or (seconds == 0 and not zero):
        bound = "zero or more" if zero else "more than zero"
        raise ConfigurationError(f"{what} must be {bound} seconds, not {seconds}")
    return float(seconds)


def check_id(run_id: int) -> int:
    """Return an id that a run may have.

    Raises:
        ConfigurationError: It is no whole number.
        RunNotFound: No run can have it.
    """
    if isinstance(run_id, bool) or not isinstance(run_id, int):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise ConfigurationError(f"a run's id is a whole number, not {run_id!r}")
    if not 0 < run_id < 2**63:
        raise RunNotFound(run_id)
    return run_id


def check_limit(limit: int) -> int:
    """Return how many to read at once, or raise ``ConfigurationError``."""
    if not 1 <= limit <= MAX_PAGE:
        raise ConfigurationError(f"limit must be between 1 and {MAX_PAGE}, not {limit}")
    return limit


def check_after(after: int) -> int:
    """Return behind which event to read, or raise ``ConfigurationError``."""
    if after < 0:
        raise ConfigurationError(f"after is the seq of the last event that was seen, 0 for none; not {after}")
    return min(after, 2**62)


def check_periods(since: datetime, width: timedelta, among: int) -> tuple[int, int]:
    """Return when the first period begins and how long each is, in microseconds, or raise ``ConfigurationError``."""
    if width <= timedelta(0):
        raise ConfigurationError(f"width must be longer than nothing, not {width}")
    if not 1 <= among <= MAX_COUNTED:
        raise ConfigurationError(f"among must be between 1 and {MAX_COUNTED:,}, not {among}")
    return to_micros(since, what="since"), width // timedelta(microseconds=1)
