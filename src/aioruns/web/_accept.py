"""Which of two media types a client would rather have (RFC 9110, 12.5.1)."""

from __future__ import annotations

import re
from typing import Final

__all__ = ["prefers"]

_QUALITY: Final = re.compile(r";\s*q\s*=\s*([01](?:\.\d{0,3})?)\s*(?:;|$)", re.IGNORECASE)


def prefers(accept: str, media_type: str, *, to: str) -> bool:
    """Tell whether an ``Accept`` header prefers one media type to another, which is the default.

    Of two types with the same quality, it prefers the one that it names more closely: ``application/json, */*`` asks
    for JSON.
    """
    return _rank(accept, media_type) > _rank(accept, to)


def _rank(accept: str, media_type: str) -> tuple[float, int]:
    """Return the quality of a media type, and how closely the header names it: by the most specific range it is in."""
    ranges = ("*/*", f"{media_type.partition('/')[0]}/*", media_type)
    found = (0, 0.0)
    for part in accept.split(","):
        name = part.partition(";")[0].strip().lower()
        if name in ranges:
            quality = _QUALITY.search(part)
            found = max(found, (1 + ranges.index(name), float(quality[1]) if quality else 1.0))
    closeness, quality = found
    return (quality, closeness)
