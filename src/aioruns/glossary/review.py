"""Step ``review``: choose one definition for each term, drop what no reader would miss, and tell why."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import islice

from aioruns.glossary.define import Definition
from aioruns.glossary.faults import code_in, fault
from aioruns.glossary.score import Term
from aioruns.glossary.words import FUNCTION_WORDS, key_of, words_of

UNDEFINED = 40
"""How many terms without a definition to name."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One entry of the finished glossary."""

    term: str
    aliases: tuple[str, ...]
    definition: str
    source: str
    line: int
    uses: int
    documents: int
    score: float
    related: tuple[str, ...]
    """Other terms of the glossary that the definition mentions."""


@dataclass(frozen=True, slots=True)
class Dropped:
    """A term that is defined somewhere but is not in the glossary, and the reason."""

    term: str
    reason: str


@dataclass(frozen=True, slots=True)
class Review:
    """The entries in alphabetical order, the dropped terms, and the missing ones."""

    entries: tuple[Entry, ...]
    dropped: tuple[Dropped, ...]
    undefined: tuple[str, ...]
    """Terms of several words that are used often but defined nowhere, best first."""


def review(terms: Iterable[Term], definitions: Iterable[Definition]) -> Review:
    """Keep the terms that are well defined.

    Args:
        terms: What ``extract`` found.
        definitions: What ``define`` found about them, in any order.
    """
    about: defaultdict[str, list[Definition]] = defaultdict(list)
    for definition in definitions:
        about[definition.key].append(definition)
    ranked = sorted(terms, key=lambda term: (-term.score, term.key))
    chosen: dict[str, tuple[Term, Definition]] = {}
    dropped: list[Dropped] = []
    for term in ranked:
        if term.key in about:
            best, reason = choose(term, about[term.key])
            if best is not None:
                chosen[term.key] = (term, best)
            else:
                dropped.append(Dropped(term.name, reason))
    for find in (_duplicates, _circles):
        for key, reason in find(chosen):
            dropped.append(Dropped(chosen.pop(key)[0].name, reason))
    undefined = (term.name for term in ranked if term.key not in about and " " in term.name and term.name.islower())
    return Review(
        tuple(
            sorted((_entry(*pair, chosen) for pair in chosen.values()), key=lambda one: (one.term.lower(), one.term))
        ),
        tuple(sorted(dropped, key=lambda one: (one.term.lower(), one.term))),
        tuple(islice(undefined, UNDEFINED)),
    )


def choose(term: Term, definitions: Iterable[Definition]) -> tuple[Definition | None, str]:
    """Choose the best definition of a term.

    Returns:
        The definition and an empty string, or None and what is wrong with the best definition.
    """
    ranked = sorted(definitions, key=lambda one: (-_quality(one), one.source, one.line))
    faults = [fault(term, definition) for definition in ranked]
    for definition, reason in zip(ranked, faults, strict=True):
        if not reason:
            return definition, ""
    return None, faults[0]


def _quality(definition: Definition) -> float:
    length = len(definition.says.split())
    return definition.weight + min(length, 20) / 20 - 0.5 * code_in(definition.says) / length


def _duplicates(chosen: Mapping[str, tuple[Term, Definition]]) -> list[tuple[str, str]]:
    """Find terms with the same definition as a better term."""
    first: dict[str, str] = {}
    found: list[tuple[str, str]] = []
    for key, (term, definition) in chosen.items():
        other = first.setdefault(definition.text.lower(), term.name)
        if other != term.name:
            found.append((key, f"duplicate: the same definition as {other}"))
    return found


def _circles(chosen: Mapping[str, tuple[Term, Definition]]) -> list[tuple[str, str]]:
    """Find pairs of terms that are defined only by each other; return the one with the lower score."""
    kinds = {key: kind_of(definition) for key, (_, definition) in chosen.items()}
    seen: set[str] = set()
    found: list[tuple[str, str]] = []
    for key, kind in kinds.items():
        if kind in seen and kinds[kind] == key:
            found.append((key, f"circular: explained by {chosen[kind][0].name}, which is explained by it"))
        seen.add(key)
    return found


def kind_of(definition: Definition) -> str:
    """Return the key of the kind of thing that the definition names: "tree" in "A heap is a tree for which ..."."""
    kind: list[str] = []
    for word in words_of(definition.says):
        if word not in FUNCTION_WORDS:
            kind.append(word)
        elif kind:
            break
    return key_of(" ".join(kind)) if kind else ""


def _entry(term: Term, definition: Definition, chosen: Mapping[str, tuple[Term, Definition]]) -> Entry:
    words = words_of(definition.text)
    mentioned = {key_of(" ".join(words[start : start + size])) for start in range(len(words)) for size in range(1, 5)}
    keys = [key for key in mentioned & chosen.keys() if key != term.key]
    # "context manager" makes "context" superfluous.
    longest = [key for key in keys if not any(key != other and f" {key} " in f" {other} " for other in keys)]
    text = definition.text[:1].upper() + definition.text[1:].removesuffix(":")
    return Entry(
        term.name,
        tuple(sorted({*term.aliases, definition.alias} - {"", term.name})),
        text if text.endswith((".", "!", "?")) else f"{text}.",
        definition.source,
        definition.line,
        term.uses,
        term.documents,
        term.score,
        tuple(sorted(chosen[key][0].name for key in longest)),
    )
