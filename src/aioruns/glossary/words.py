"""What the steps know about English: sentences, words, plurals, and which words are not part of terms."""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator

DETERMINERS = frozenset("a an the this these those each every any no its their our your his her some another".split())

VERB_CUES = frozenset(
    """
    to will would can could may might must shall should cannot not don't doesn't didn't won't can't i you we they it he
    she who which that please let let's always never also
    """.split()
)
"""The word after one of these is probably a verb."""

FUNCTION_WORDS = DETERMINERS.union(
    VERB_CUES,
    """
    about above across after again against all almost along already although am among and apart are aren't around as at
    away be became because become becomes been before behind being below beside besides between beyond both but by
    couldn't despite did do does doing done down during e.g either else enough etc even ever everything except few for
    from further had has hasn't have haven't having hence here him himself how however i.e if in indeed inside instead
    into is isn't itself just like likewise many me more moreover most much my myself near neither nevertheless none nor
    nothing now of off often on once one onto only or other others otherwise out outside over own per perhaps quite
    rather same several since so something still such than that's them then themselves there there's therefore though
    through throughout thus together too toward towards two three four five under unless until up upon us very via vs
    was wasn't were what whatever when whenever where whereas wherever whether while whom whose why with within without
    yet yes zero
    """.split(),
)
"""Words that hold sentences together; no term contains one."""

QUALIFIERS = frozenset(
    """
    able actual added additional alternative appropriate arbitrary available aware bad basic best better big bit certain
    changed clear common complete convenient correct corresponding current default deprecated desired detailed different
    difficult easy entire equal equivalent exact existing explicit extra false final fine first following full further
    general given good great handy high huge identical important individual initial intended interesting invalid
    known large larger largest last late later latter least left less likely little long longer low lower main major
    maximum minimum minor missing modern multiple necessary new newer next nice normal obvious ok old older optional
    optionally original overall particular passed plain possible previous proper quick rare real reasonable recent
    relevant remaining required respective resulting right second short shorter similar simple slow small smaller
    special specific specified standard subsequent successful sufficient suitable sure temporary third true typical
    underlying unknown unnecessary upper useful usual valid various visible well whole wrong
    alias aliases arg args author called cls copyright don example examples fixme kind kinds kwargs lot lots none note
    param params please rest return returned returns see self sort sorts thing things todo used using warning way ways
    based xxx
    """.split()
)
"""Words that qualify, point or praise, and words of documentation itself; no term contains one."""

VAGUE = frozenset(
    """
    action behavior behaviour call case code condition content count data description detail element end entry error
    fact field file flag form format group id index information input item key length letter level line mode name number
    option order output part path piece place point position program property purpose reason record result row section
    side size source start state step style support system target test text time top type use user value version view
    window word
    """.split()
)
"""Nouns that say too little to be terms on their own."""

KIND = re.compile(
    r"(?:simply |basically |essentially |usually |typically |always |either |just )?(?:an?|the|one of|any) (?!same\b)",
    re.IGNORECASE,
)
"""How a phrase begins that names a kind of thing: "a tree for which ..."."""

_ABBREVIATION = re.compile(
    r"\b(?:e\.g|i\.e|etc|vs|cf|a\.k\.a|approx|resp|incl|Dr|Mr|Mrs|St|Fig|Sec|No|[A-Z])\.$", re.IGNORECASE
)
_BOUNDARY = re.compile(r"[.!?][\"')\]]*(?=\s+[\"'(\[`]?[A-Z0-9])")
_WORD = re.compile(r"[A-Za-z][A-Za-z0-9]*(?:[-'][A-Za-z0-9]+)*")
_HUMP = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z]{2})")
_IRREGULAR = {"indices": "index", "matrices": "matrix", "vertices": "vertex", "children": "child", "axes": "axis"}


def sentences(text: str) -> Iterator[tuple[int, str]]:
    """Split running text into sentences.

    Yields:
        The offset of each sentence in ``text``, and the sentence with its white space collapsed.
    """
    start = 0
    ends = (match for match in _BOUNDARY.finditer(text) if not _ABBREVIATION.search(text, 0, match.start() + 1))
    for end in [*(match.end() for match in ends), len(text)]:
        part = text[start:end]
        if part.strip():
            yield start + len(part) - len(part.lstrip()), " ".join(part.split())
        start = end


def words_of(text: str) -> list[str]:
    """Return the words of a text in lower case."""
    return [match[0].lower() for match in _WORD.finditer(text)]


@functools.lru_cache(maxsize=2**14)
def singular(word: str) -> str:
    """Return the singular of a noun in lower case; a word that only looks like a plural stays as it is."""
    if word in _IRREGULAR:
        return _IRREGULAR[word]
    if len(word) < 4 or not word.endswith("s") or word.endswith(("ss", "us", "is", "ics", "ous", "as", "news")):
        return word
    if word.endswith("ies") and len(word) > 4:
        return word[:-3] + "y"
    if word.endswith(("sses", "shes", "ches", "xes", "zes")):
        return word[:-2]
    return word[:-1]


@functools.lru_cache(maxsize=2**16)
def key_of(phrase: str) -> str:
    """Return what all spellings of a term have in common: lower case, singular, spaces for hyphens."""
    *words, last = phrase.lower().replace("-", " ").replace("_", " ").split() or [""]
    return " ".join([*words, singular(last)])


def split_camel_case(name: str) -> str:
    """Return the words of a class name: ``HTTPConnectionPool`` gives ``HTTP Connection Pool``."""
    return _HUMP.sub(" ", name)
