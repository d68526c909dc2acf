"""The only clock, and the stored form of times: whole microseconds since 1970, UTC."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta

from aioruns.errors import ConfigurationError

__all__ = ["from_micros", "now_micros", "to_micros"]

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


def now_micros() -> int:
    """Read the clock: microseconds since 1970, UTC."""
    return time.time_ns() // 1000


def from_micros(micros: int) -> datetime:
    """Convert stored microseconds exactly to an aware UTC datetime."""
    return _EPOCH + timedelta(0, 0, micros)  # microseconds= takes half as long again


def to_micros(moment: datetime, *, what: str) -> int:
    """Convert an aware datetime to microseconds.

    Raises:
        ConfigurationError: The datetime is naive; ``what`` names it in the message.
    """
    if moment.tzinfo is None:
        raise ConfigurationError(f"{what} is a naive datetime; give it a timezone, e.g. datetime.now(UTC)")
    return (moment - _EPOCH) // _MICROSECOND
