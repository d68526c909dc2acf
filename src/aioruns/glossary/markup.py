"""Cut Markdown, reStructuredText and docstrings into passages: paragraphs and entries of lists of definitions."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Literal

from aioruns.glossary.inline import plain

Form = Literal["prose", "row", "entry", "lead", "label", "class"]
"""Running text; a row of a table; an entry of a list of definitions; ``**term**: text``; ``term: text``; a class."""


@dataclass(frozen=True, slots=True)
class Passage:
    """A paragraph, or one entry of a list of definitions."""

    line: int
    text: str
    """Without markup, but with the line breaks of the file, which tell the line of a sentence."""
    form: Form = "prose"
    term: str = ""
    """What the text is about; empty in running text."""


@dataclass(frozen=True, slots=True)
class _Line:
    number: int
    indent: int
    text: str


_COMMENT = re.compile(r"<!--.{0,5000}?-->", re.DOTALL)
_FENCE = re.compile(r"```|~~~")
_RULE = re.compile(r"([=\-~^\"'`#*+.:_])\1{2,}$|\+[-=+]{3,}$|(=+ +)+=+$")
_HEADING = re.compile(r"#{1,6}\s")
_DIRECTIVE = re.compile(r"\.\. +(?P<name>[\w:-]+)::|\.\.(?: |$)")
_PROSE_DIRECTIVES = frozenset(
    """
    glossary note warning caution danger important tip hint attention admonition seealso versionadded versionchanged
    deprecated rubric topic
    """.split()
)
_FIELD = re.compile(r":[a-z]+(?: [^:]{1,80})?:(?=\s|$)|@\w+ \w+")
_SECTION = re.compile(
    r"(?:(?:keyword |optional |positional )?(?:arg(?:ument)?s|param(?:eter)?s)|attributes|options|raises|returns|"
    r"yields|examples?|usage|methods|functions)\s*:*$",
    re.IGNORECASE,
)
_BULLET = re.compile(r"(?:[-*+•]|\(?\d{1,2}[.)]|\([a-z]\))\s+(?=\S)")
_LEAD = re.compile(
    r"(?P<quote>\*\*|``|`|\*|\"|')?(?P<term>[A-Za-z][\w /()-]{1,60}?)(?(quote)(?P=quote))(?:\s+(?:--|—|–)|\s?:)\s+"
)
_TERM = re.compile(r"[*`\"']{0,2}[A-Za-z][\w /'-]{0,60}[*`\"']{0,2}(?: \([\w -]{1,40}\))?")
_ROW = re.compile(r"\|(?P<term>[^|]{1,80})\|(?P<text>[^|]+)\|\s*$")


def passages_of(text: str, *, first_line: int = 1, docstring: bool = False, owner: str = "") -> Iterator[Passage]:
    """Cut a text into passages, without code, headings, drawings and lists of parameters.

    Args:
        text: Markdown, reStructuredText, plain text, or a docstring as it stands in its file.
        first_line: Line of the file at which the text begins.
        docstring: Whether it is a docstring, whose lists of definitions rather list parameters.
        owner: Name of the class whose docstring this is.

    Yields:
        Passages in the order of the text.
    """
    text = _COMMENT.sub(lambda match: "\n" * match[0].count("\n"), text)
    first = True
    for block in _blocks(_lines(text, first_line, docstring=docstring)):
        for passage in _split(block):
            if first and owner:
                passage = replace(passage, form="class", term=owner)
            elif docstring and passage.term:
                passage = replace(passage, form="label")
            first = False
            if _is_readable(passage.text):
                yield passage


def _lines(text: str, first_line: int, *, docstring: bool) -> list[_Line]:
    raw = text.expandtabs().splitlines()
    indents = [len(line) - len(line.lstrip()) for line in raw]
    if docstring:
        # The first line follows the quotes; the others are indented like the code around them.
        margin = min((indent for indent, line in zip(indents[1:], raw[1:], strict=True) if line.strip()), default=0)
        indents = [0, *(indent - margin for indent in indents[1:])]
    return [
        _Line(first_line + number, indent, line.strip())
        for number, (indent, line) in enumerate(zip(indents, raw, strict=False))
    ]


def _blocks(lines: list[_Line]) -> Iterator[list[_Line]]:
    """Group the lines that stand together, and leave out what is not prose."""
    block: list[_Line] = []
    position = 0
    while position < len(lines):
        line = lines[position]
        position += 1
        if block and line.text and _BULLET.match(line.text):
            yield block
            block = []
        after = _skip(lines, position, line)
        if after is None:
            block.append(line)
            if not line.text.endswith("::"):
                continue
            after = _after_indented(lines, position, line.indent)
        elif _RULE.match(line.text):
            block = block[:-1]  # This line underlines the one before, which is a heading.
        position = after
        if block:
            yield block
        block = []
    if block:
        yield block


def _skip(lines: list[_Line], position: int, line: _Line) -> int | None:
    """Return where to go on if a line begins something that is not prose, or None."""
    if not line.text or _HEADING.match(line.text) or _RULE.match(line.text):
        return position
    if _FENCE.match(line.text):
        while position < len(lines) and not lines[position].text.startswith(line.text[:3]):
            position += 1
        return position + 1
    if line.text.startswith(">>>"):
        while position < len(lines) and lines[position].text:
            position += 1
        return position
    if directive := _DIRECTIVE.match(line.text):
        return position if directive["name"] in _PROSE_DIRECTIVES else _after_indented(lines, position, line.indent)
    if _FIELD.match(line.text) or _SECTION.match(line.text):
        return _after_indented(lines, position, line.indent)
    return None


def _after_indented(lines: list[_Line], position: int, indent: int) -> int:
    while position < len(lines) and (not lines[position].text or lines[position].indent > indent):
        position += 1
    return position


def _split(block: list[_Line]) -> Iterator[Passage]:
    """Split a block into entries of lists of definitions and paragraphs."""
    if block[0].text.startswith("|"):
        for line in block[2:]:
            if row := _ROW.match(line.text):
                yield _passage([replace(line, text=row["text"].strip())], "row", row["term"].strip())
        return
    start = 0
    while start < len(block):
        head = block[start]
        bullet = _BULLET.match(head.text)
        body = head.text[bullet.end() :] if bullet else head.text
        lead = _LEAD.match(body)
        if lead and len(lead["term"].split()) <= 6:
            end = _end_of_entry(block, start, lead=True)
            rest = replace(head, text=body[lead.end() :])
            yield _passage([rest, *block[start + 1 : end]], "lead" if lead["quote"] else "label", lead["term"])
        elif start + 1 < len(block) and block[start + 1].indent > head.indent and _TERM.fullmatch(head.text):
            end = _end_of_entry(block, start)
            yield _passage(block[start + 1 : end], "entry", head.text)
        else:
            end = len(block)
            yield _passage([replace(head, text=body), *block[start + 1 :]])
        start = end


def _end_of_entry(block: list[_Line], start: int, *, lead: bool = False) -> int:
    """Return where the next entry begins: at the first line with no more indent; after a lead, only at another lead."""
    for position in range(start + 1, len(block)):
        line = block[position]
        if line.indent <= block[start].indent and (not lead or _LEAD.match(line.text)):
            return position
    return len(block)


def _passage(lines: list[_Line], form: Form = "prose", term: str = "") -> Passage:
    text = plain("\n".join(line.text for line in lines))
    return Passage(lines[0].number, text, form, plain(term).strip("*`'\" "))


def _is_readable(text: str) -> bool:
    """Tell whether a text consists of sentences, rather than being a grammar, a table or a drawing."""
    letters = sum(map(str.isalpha, text)) + text.count(" ") + text.count("\n")
    return letters >= 0.8 * len(text) > 0
