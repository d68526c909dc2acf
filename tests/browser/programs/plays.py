"""Jobs whose runs do what a test says, line by line; and those that a test has nothing to say to."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, Final, Literal

from aioruns import current_run, job

CUES: Final = Path("cues")
"""In the program's folder: for each part the file into which the test writes, each line a verb and its arguments."""
MARKUP: Final = "<img src=x onerror=alert(1)>"


async def _cues(part: str) -> AsyncIterator[tuple[str, list[Any], dict[str, Any]]]:
    """Give the cues of a part as they come."""
    with (CUES / part).open(encoding="utf-8") as file:
        rest = ""
        while True:
            rest += file.readline()
            if rest.endswith("\n"):
                yield json.loads(rest)
                rest = ""
            else:
                await asyncio.sleep(0.01)


@job
async def play(part: str) -> Any:
    """Play a part as it is cued."""
    context = current_run()
    async for verb, values, options in _cues(part):
        match verb:
            case "count":
                for number in range(*values):
                    context.log("info", f"line {number}")
            case "flush":
                await context.flush()
            case "return":
                return values[0]
            case "raise":
                raise RuntimeError(values[0])
            case _:
                getattr(context, verb)(*values, **options)
    raise AssertionError("cues never end")


@job
async def linger(part: str) -> None:
    """Play a part; who is cancelled leaves when the cue comes that says so."""
    try:
        await play(part)
    except asyncio.CancelledError:
        await play(f"{part}-leaving")
        raise


@job
async def report(
    subject: str,
    copies: int,
    chapters: list[str],
    limits: dict[str, int],
    ratio: float = 0.5,
    draft: bool = True,
    paper: Literal["A4", "A5", "Letter"] = "A4",
    note: str | None = None,
) -> dict[str, Any]:
    """Take one argument of every kind, and return them all."""
    return {
        "subject": subject,
        "copies": copies,
        "chapters": chapters,
        "limits": limits,
        "ratio": ratio,
        "draft": draft,
        "paper": paper,
        "note": note,
    }


@job(name=MARKUP)
async def hostile(text: str) -> dict[str, str]:
    """Say and return what a page must not take for its own."""
    context = current_run()
    context.set_progress(1, 2, step=text[:100], message=text[:100])
    context.log("info", text)
    context.log("error", "with fields", **{text[:100]: text})
    await context.flush()
    return {text[:100]: text}


@job
async def breaks(text: str) -> None:
    """Fail with a message."""
    raise ValueError(text)


NAMED: Final = [job(name=name)(play.function) for name in ("build_glossary", "import_orders", "nightly_backup")]
JOBS: Final = [play, linger, report, hostile, breaks, *NAMED]
