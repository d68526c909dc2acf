"""Make errors safe to store and to show: never empty, bounded, valid UTF-8, without secrets or local paths."""

from __future__ import annotations

import re
import sys
import traceback
from collections.abc import Callable
from functools import cache
from types import FrameType, TracebackType
from typing import Final

__all__ = [
    "MAX_ERROR",
    "MAX_TRACEBACK",
    "Redact",
    "cut",
    "describe",
    "is_own_frame",
    "redact_secrets",
    "safe_text",
    "skip_own_frames",
]

Redact = Callable[[str], str]
"""Returns a text without the parts that must not be shown."""

MAX_ERROR: Final = 1024
"""The most bytes of UTF-8 in an error message."""
MAX_TRACEBACK: Final = 16 * 1024
"""The most bytes of UTF-8 in a traceback."""
_MAX_INPUT: Final = 32 * 1024
"""The most bytes that the patterns below search, which bounds their time."""
_NOTHING: Final = "<nothing that may be shown>"

_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029]")
_BREAKS = re.compile(r"(?<!\s)\s*[\t\r\n\u2028\u2029]+\s*")

_SECRET = r"(?:password|passwd|pwd|secret|token|(?:access|api|private|secret)[_-]?key|authorization)"
_CREDENTIALS: Final = (
    (r"(?i)\b([a-z][a-z0-9+.-]{0,30}://)[^\s/'\"]{1,512}@", r"\1***@"),
    (r"(://[^\s/@:'\"]{1,64}:)(?!\d+/)[^\s@'\"]{1,512}@", r"\1***@"),
    (r"(?i)\b(bearer)\s+[\w.~+/=-]{6,}", r"\1 ***"),
    (r"\b([Bb]asic)\s+(?=\S*(?:[\d=]|[a-z][A-Z]))[\w.~+/=-]{6,}", r"\1 ***"),
    (r"\beyJ[\w-]{8,1024}\.[\w-]+(?:\.[\w-]*)?", "***"),
    (r"\b(?:sk|pk|rk|ghp|gho|ghs|ghu|glpat|xox[abprs]|github_pat|AKIA)[-_]?[A-Za-z0-9_-]{16,}", "***"),
    (rf"(?i)({_SECRET}[\"']?\s*[:=]\s*)(?:\"[^\"\n]*\"|'[^'\n]*'|[^\s,;&'\")}}\]]+)", r"\1***"),
)

# A path's folders may contain spaces. Its last name may only do so if the path is quoted; otherwise the text behind the
# path would become part of it. A slash after a letter belongs to a fraction, and one beside another slash to a URL.
_FOLDER = r"[^/\\\n'\"`:;,|<>()]+(?<!\s)"
_FOLDERS = rf"(?:/+{_FOLDER}(?=/))"
_NAME = r"(?P<name>[^\s/\\'\"`:,;)]*)"
_LONE = r"(?<![\w.~/\\…-])"
_PATHS: Final = (
    r"(?<=['\"`])(?:file://)?(?:~[\w.-]*|[A-Za-z]:|\\)?[/\\][^'\"`\n]*[/\\](?P<name>[^'\"`\n/\\]*)(?=['\"`])",
    r"(?<=file://)(?:/[^\s/'\"]+(?=/))*/(?P<name>[^\s/'\"]*)",
    rf"(?<!\w)(?:(?:\\{{2,4}}[?.]\\+)?[A-Za-z]:[/\\]+|\\{{2,4}}(?=\S)(?={_FOLDER}\\))(?:{_FOLDER}[/\\]+)*{_NAME}",
    rf"{_LONE}~[\w.-]*{_FOLDERS}*/+{_NAME}",
    rf"(?:(?<=://)|(?<=:///)|{_LONE}(?!//))(?:{_FOLDERS}+/+{_NAME}|/root(?![\w/\\-]|\.\w))",
)
_HOME = re.compile(r"/root|(?:/home|/Users|(?:\\+[?.]\\+)?[A-Za-z]:[/\\]+[Uu]sers)[/\\]+[^/\\]+")


def _shorten_path(path: re.Match[str]) -> str:
    """Shorten a path to its last name; shorten a home folder, whose last name is a user's, to ``~``."""
    return "~" if _HOME.fullmatch(path[0]) else f"…/{path['name']}"


@cache
def _compiled(pattern: str) -> re.Pattern[str]:
    """Compile a pattern when it is first needed: compiling all of them takes some milliseconds."""
    return re.compile(pattern)


def redact_secrets(text: str) -> str:
    """Remove what must not be shown: URL credentials, tokens, passwords, and the folders of local paths.

    A path keeps its last name, unless that is the name of a home folder; a URL keeps its scheme, host and path.

    Args:
        text: An error message or a traceback of any length; a longer one takes more time.
    """
    for pattern, substitute in _CREDENTIALS:
        text = _compiled(pattern).sub(substitute, text)
    for pattern in _PATHS:
        text = _compiled(pattern).sub(_shorten_path, text)
    return text


def cut(text: str, limit: int) -> str:
    """Shorten text to ``limit`` bytes of UTF-8, with a mark in the middle that tells how many characters were cut."""
    raw = text.encode()
    if len(raw) <= limit:
        return text
    room = limit - 48
    head = raw[: room // 3].decode(errors="ignore")
    tail = raw[len(raw) - (room - room // 3) :].decode(errors="ignore")
    return f"{head} … {len(text) - len(head) - len(tail)} characters cut … {tail}"


def safe_text(text: str, limit: int, redact: Redact, *, one_line: bool) -> str:
    """Redact and bound text, and make it valid UTF-8 without control characters other than tabs and line ends.

    Args:
        text: Any text.
        limit: The most bytes of UTF-8 to keep.
        redact: Removes what must not be shown; if it raises, ``redact_secrets`` is used instead.
        one_line: Replace tabs and line ends by spaces.
    """
    # The final cut could separate a secret from the word that gives it away, so redact well more than the limit first.
    text = cut(text.encode(errors="backslashreplace").decode(), _MAX_INPUT)
    try:
        text = redact(text).encode(errors="backslashreplace").decode()
    except BaseException:  # noqa: BLE001 - even if the user's function fails, the outcome must be stored without secrets
        text = redact_secrets(text)
    text = _BREAKS.sub(" ", text) if one_line else text.replace("\r\n", "\n").replace("\r", "\n")
    return cut(_CONTROL.sub("�", text), limit).strip()


def describe(error: BaseException, redact: Redact) -> tuple[str, str]:
    """Describe an exception in text that is safe to store and to show.

    Returns:
        A line ``Type: message`` of at most 1 KiB, and a traceback of at most 16 KiB with the chained causes.
    """
    name = type(error).__name__
    message = _attempt(lambda: _headline(error), f"{name}: <its message cannot be shown: str() raised>")
    stack = _attempt(lambda: _format(error), f"{name}: <its traceback cannot be formatted>")
    return (
        safe_text(message, MAX_ERROR, redact, one_line=True) or _NOTHING,
        safe_text(stack, MAX_TRACEBACK, redact, one_line=False) or _NOTHING,
    )


def _attempt(make: Callable[[], str], otherwise: str) -> str:
    try:
        return make()
    except BaseException:  # noqa: BLE001 - the exception's own code runs; its SystemExit must not decide the outcome
        return otherwise


def _headline(error: BaseException) -> str:
    name, message = type(error).__name__, str(error)
    return f"{name}: {message}" if message.strip() else name


def _format(error: BaseException) -> str:
    own = skip_own_frames(error.__traceback__)
    report = traceback.TracebackException(type(error), error, own or error.__traceback__, compact=True)
    return _FILE_LINE.sub(_shorten, "".join(report.format()))


_FILE_LINE = re.compile(r'(?m)^(?P<margin>[ |+]*)File "(?P<path>[^"\n]+)"')


def _shorten(line: re.Match[str]) -> str:
    """Shorten a frame's file name to its part below the import path."""
    path = line["path"]
    roots = [root for root in sys.path if root and path.startswith(root.rstrip("/\\") + "/")]
    short = path[len(max(roots, key=len).rstrip("/\\")) + 1 :] if roots else re.split(r"[/\\]", path)[-1]
    return f'{line["margin"]}File "{short}"'


def is_own_frame(frame: FrameType) -> bool:
    """Tell whether a frame belongs to this library rather than to a job or the application."""
    return str(frame.f_globals.get("__package__")).startswith("aioruns._")


def skip_own_frames(frames: TracebackType | None) -> TracebackType | None:
    """Skip the leading frames through which this library called the function."""
    while frames is not None and is_own_frame(frames.tb_frame):
        frames = frames.tb_next
    return frames
