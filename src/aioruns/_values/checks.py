"""Checks of callers' input: each returns the value if it is valid, and otherwise raises before anything is written."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from typing import Final

from aioruns.errors import ConfigurationError, RunNotFound

__all__ = [
    "MAX_NAME",
    "check_after",
    "check_id",
    "check_limit",
    "check_seconds",
    "check_tags",
    "check_text",
]

MAX_PAGE: Final = 1000
"""The most runs or events that one call reads."""


def check_tags(tags: Iterable[str] | None) -> tuple[str, ...]:
    """Sort tags and drop duplicates.

    Raises:
        ConfigurationError: ``tags`` is a single string or no iterable, or one of the tags is not valid.
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
"""The most characters in a key, a tag, a job's name and the like."""


def check_text(text: object, *, what: str) -> str:
    """Return the text if it can be a name in the store.

    Raises:
        ConfigurationError: It is not a string, is empty or too long, or holds control characters or lone surrogates.
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
    """Return a valid duration as float seconds; ``math.inf`` means no limit.

    Raises:
        ConfigurationError: It is not a number, is negative or NaN, or is zero and ``zero`` does not allow that.
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
    """Return the id if a run can have it.

    Raises:
        ConfigurationError: The id is not a whole number.
        RunNotFound: No run can have this id.
    """
    if isinstance(run_id, bool) or not isinstance(run_id, int):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise ConfigurationError(f"a run's id is a whole number, not {run_id!r}")
    if not 0 < run_id < 2**63:
        raise RunNotFound(run_id)
    return run_id


def check_limit(limit: int) -> int:
    """Return the limit, or raise ``ConfigurationError`` if it is out of range."""
    if not 1 <= limit <= MAX_PAGE:
        raise ConfigurationError(f"limit must be between 1 and {MAX_PAGE}, not {limit}")
    return limit


def check_after(after: int) -> int:
    """Return the ``seq`` to read on from, or raise ``ConfigurationError`` if it is negative."""
    if after < 0:
        raise ConfigurationError(f"after must be the seq of the last event seen, or 0 for none, not {after}")
    return min(after, 2**62)
