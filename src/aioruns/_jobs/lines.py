"""Make a run's log lines and progress fit to be stored; a log line never fails its run, whatever it holds."""

from __future__ import annotations

import contextlib
import logging
import math
from collections.abc import Callable
from typing import Any, Final

from aioruns._values.checks import MAX_NAME
from aioruns._values.json import NotStorable, encode
from aioruns._values.redaction import cut
from aioruns.errors import ConfigurationError

__all__ = ["MAX_DATA", "MAX_LINE", "encode_line", "finite", "label", "level_name", "shown"]

MAX_LINE: Final = 16 * 1024
"""The most bytes of UTF-8 in a log message."""
MAX_FIELD: Final = 1024
"""The most bytes of UTF-8 in the ``repr`` of a field without a JSON form."""
MAX_DATA: Final = 64 * 1024
"""The most bytes of JSON in the data of an emitted event."""
_LEVELS = frozenset({"debug", "info", "warning", "error", "critical"})


def finite(number: float) -> float:
    """Return a number as a plain int or float, which JSON can hold."""
    try:
        plain = number if type(number) is int else float(number)
        if math.isfinite(plain):
            return plain
    except (OverflowError, TypeError, ValueError):
        pass
    raise ConfigurationError(f"progress is made of finite numbers, not {shown(repr, number)}")


def label(text: str | None) -> str | None:
    return None if text is None else cut(shown(str, text), MAX_NAME)


def level_name(level: str | int) -> str:
    if level in _LEVELS:
        return level
    known = logging.getLevelNamesMapping()
    if isinstance(level, int):
        return logging.getLevelName(level).lower()
    if level.upper() not in known:
        raise ConfigurationError(f"the log level {level!r} is unknown; the levels are {', '.join(known).lower()}")
    return level.lower()


def encode_line(data: dict[str, Any]) -> str:
    """Encode a log line, whatever its fields hold: a log line never fails the run that writes it."""
    try:
        return encode(data, what="a log line", limit=MAX_DATA)
    except NotStorable:
        return _encode_shown(data)


def _encode_shown(data: dict[str, Any]) -> str:
    """Encode a log line with the ``repr`` of its fields, or without its fields if that is still too large."""
    if fields := data.pop("fields", {}):
        data["fields"] = {shown(str, name): cut(shown(repr, value), MAX_FIELD) for name, value in fields.items()}
        with contextlib.suppress(NotStorable):
            return encode(data, what="a log line", limit=MAX_DATA)
        del data["fields"]
        data["fields_cut"] = len(fields)
    # Message and traceback are bounded already, but JSON escapes may make them larger than MAX_DATA.
    return encode(data, what="a log line")


def shown(show: Callable[[object], str], value: object) -> str:
    """Return a value's own ``__str__`` or ``__repr__`` as valid UTF-8, or the name of its type if that raises."""
    try:
        return show(value).encode(errors="backslashreplace").decode()
    except Exception:  # noqa: BLE001 - a user's own code runs here
        return f"<{type(value).__name__}>"
