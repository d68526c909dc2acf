"""Remove the markup inside lines of Markdown and reStructuredText."""

from __future__ import annotations

import re

# Each quantifier is bounded, so that a megabyte of opening brackets does not take quadratic time.
_RULES = [
    (re.compile(r"!\[[^\]\n]{0,200}\]\([^)\n]{0,500}\)"), ""),
    (re.compile(r"\[([^\]\n]{1,200})\]\([^)\s]{0,500}\)"), r"\1"),
    (re.compile(r":(?:term|dfn|abbr|ref|doc):`~?([^`<\n]{1,200}?)\s*(?:<[^`]{0,200}>)?`"), r"\1"),
    (re.compile(r":[a-z][a-z:+-]{0,30}:`[~!.]*([^`<\n]{1,200}?)\s*(?:<[^`]{0,200}>)?`"), r"`\1`"),
    (re.compile(r"\{[a-z][a-z:+-]{0,30}\}(?=`)"), ""),
    (re.compile(r"`([^`<\n]{1,200}?)\s*<[^`\n]{0,500}>`__?"), r"\1"),
    (re.compile(r"``([^`'\n]{1,200})''"), r'"\1"'),
    (re.compile(r"``([^`\n]{1,200})``"), r"`\1`"),
    (re.compile(r"(?<![\w`])`([^`'\n]{1,40})'(?!\w)"), r"'\1'"),
    (re.compile(r"`([^`\n]{1,200})`__?(?!\w)"), r"\1"),
    (re.compile(r"(?<![\w*])(\*{1,2})(?=[^\s*])([^*\n]{1,200})(?<=[^\s*])\1(?![\w*])"), r"\2"),
    (re.compile(r"\[[#*\w]{1,30}\]_"), ""),
    (re.compile(r"</?(?:a|b|i|em|p|br|code|strong|sub|sup|kbd|img|div|span)\b[^>\n]{0,300}>", re.IGNORECASE), ""),
    (re.compile(r"\\(?: |(?=[*`_]))"), ""),
    (re.compile(r"::(?=\s|$)"), ":"),
]


def plain(text: str) -> str:
    """Return the text as a reader sees it; code and the names of objects stand in single backquotes."""
    for pattern, replacement in _RULES:
        text = pattern.sub(replacement, text)
    return text
