"""The log of a run as text: one line for each event, in which nothing can pass for another line."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from typing import Any, Final

import msgspec

from aioruns import RunEvent

__all__ = ["log_lines", "log_text"]

_UNSAFE: Final = re.compile("[^\n\t\x20-\x7e\xa0-\u2027\u202f-\u2065\u206a-\U0010ffff]")
"""Characters that move the cursor, colour a terminal, or break or reverse a line, but not line feeds and tabs."""


async def log_text(pages: AsyncIterator[list[RunEvent]], *, traceback: bool) -> AsyncIterator[str]:
    """Write pages of events as text.

    Args:
        pages: The events of a run, in order.
        traceback: Whether to write tracebacks.
    """
    async for events in pages:
        yield "".join(log_lines(event, traceback=traceback) for event in events)


def log_lines(event: RunEvent, *, traceback: bool) -> str:
    """Write a log or status event as a line, with further lines indented; write nothing for other events."""
    if event.kind == "status":
        level, text = "STATUS", _status(event.data)
    elif event.kind == "log":
        level, text = _line(event.data, traceback=traceback)
    else:
        return ""
    safe = _UNSAFE.sub(_escape, f"{level:<8} {text}").rstrip().replace("\n", "\n    ")
    return f"{event.at:%Y-%m-%dT%H:%M:%S.%fZ} {safe}\n"


def _status(data: dict[str, Any]) -> str:
    return ": ".join(str(data[name]) for name in ("status", "error", "reason") if data.get(name))


def _line(data: dict[str, Any], *, traceback: bool) -> tuple[str, str]:
    text = f"{data['logger']}: {data['message']}" if data.get("logger") else data["message"]
    if fields := data.get("fields"):
        text += f" {msgspec.json.encode(fields).decode()}"
    if traceback and data.get("traceback"):
        text += f"\n{data['traceback']}"
    return data["level"].upper(), text


def _escape(match: re.Match[str]) -> str:
    return match[0].encode("unicode_escape").decode()
