"""What may be wrong with a definition, in the words that the reader gets."""

from __future__ import annotations

import re

from aioruns.glossary.define import Definition
from aioruns.glossary.score import Term
from aioruns.glossary.words import FUNCTION_WORDS, QUALIFIERS, key_of, split_camel_case, words_of

SUBSTANCE = 3
"""How many words a definition needs besides the term, function words and qualifiers; one less if it surely is one."""
FEWEST = 3
"""How many uses of a term in one document make up for a doubtful definition."""
LONGEST = 60
"""The most words in a definition."""

_WITHOUT_SUBSTANCE = FUNCTION_WORDS | QUALIFIERS | {"represent", "represents", "describe", "describes"}
_POINTING = re.compile(
    r"\b(?:above|below|following|here|self|the (?:specified|given|passed)|"
    r"this (?:class|function|method|module|file|object))\b",
    re.IGNORECASE,
)
_CODE = re.compile(r"[{}=<>|\\]+|\(\)|\w_\w|\w\.\w")
_SUBJECT = re.compile(
    r"(?:The|An?) (?P<subject>(?:(?!that\b|which\b|whose\b)\S+ ){1,4}?)(?:is|are|may|can|will|must|should|would) "
)
_PARTICULARS = frozenset("argument attribute data field function method option parameter value".split())


def fault(term: Term, definition: Definition) -> str:
    """Tell what is wrong with a definition; return an empty string if nothing is."""
    says = words_of(split_camel_case(definition.says))
    own = {key_of(word) for word in words_of(split_camel_case(term.name))}
    return (
        _lacks_substance(says, own, definition)
        or _is_cut_off(says, definition)
        or _is_about_something_else(term, own, definition)
        or _is_hardly_used(term, definition)
    )


def code_in(text: str) -> int:
    """Count the places in a text that look like code."""
    return len(_CODE.findall(text))


def _lacks_substance(says: list[str], own: set[str], definition: Definition) -> str:
    substance = {key_of(word) for word in says if word not in _WITHOUT_SUBSTANCE}
    if len(substance - own) < SUBSTANCE - (definition.weight >= 4):
        return "circular: little but the term itself" if substance & own else "too short to explain anything"
    if not any(word in FUNCTION_WORDS for word in says):
        return "not a sentence"
    return "more code than words" if code_in(definition.says) > max(3, len(says) / 3) else ""


def _is_cut_off(says: list[str], definition: Definition) -> str:
    if len(says) > LONGEST:
        return "too long for a glossary"
    if definition.text.endswith(",") or (definition.text.endswith(":") and len(says) < 8):
        return "cut off: the rest stands elsewhere"
    if definition.text.count("(") != definition.text.count(")"):
        return "cut off: the rest stands elsewhere"
    return "refers to its surroundings" if _POINTING.search(definition.says) else ""


def _is_about_something_else(term: Term, own: set[str], definition: Definition) -> str:
    if definition.weight < 3 and words_of(term.name)[-1] in _PARTICULARS:
        return "about one particular parameter"
    if term.name.upper() in definition.text and not term.name.isupper():
        return "about one particular parameter"
    subject = _SUBJECT.match(definition.says) if definition.says == definition.text else None
    if subject and not own & {key_of(word) for word in words_of(split_camel_case(subject["subject"]))}:
        return "a statement about something else"
    return ""


def _is_hardly_used(term: Term, definition: Definition) -> str:
    if definition.weight < 4 and term.documents < 2 and term.uses < FEWEST:
        return "hardly used, and not clearly defined"
    return ""
