"""The second half of step ``extract``: decide which phrases probably are terms, and how to spell them.

The score is the C-value of Frantzi, Ananiadou and Mima ("Automatic recognition of multi-word terms", 2000), times the
logarithm of the number of documents. Long phrases count more; a phrase that mostly stands inside longer ones, or in few
documents, counts less.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from aioruns.glossary.extract import Phrases, Vocabulary
from aioruns.glossary.words import key_of, singular, split_camel_case


@dataclass(frozen=True, slots=True)
class Term:
    """A phrase that probably is a technical term."""

    key: str
    name: str
    aliases: tuple[str, ...]
    """Acronyms and other spellings, but not plurals."""
    uses: int
    documents: int
    score: float


def score_terms(documents: Iterable[Phrases], vocabulary: Vocabulary) -> Iterator[Term]:
    """Choose the phrases that probably are terms.

    Args:
        documents: The phrases of each document.
        vocabulary: How all of them use their words.

    Yields:
        Terms in no particular order.
    """
    uses: Counter[str] = Counter()
    spread: Counter[str] = Counter()
    surfaces: defaultdict[str, Counter[str]] = defaultdict(Counter)
    for phrases in documents:
        for (key, surface), number in phrases.items():
            uses[key] += number
            surfaces[key][surface] += number
        spread.update({key for key, _ in phrases})
    usual = usual_spellings(vocabulary.spellings)
    for key, value in c_values(uses).items():
        if value > 0:
            name = _name(surfaces[key], vocabulary.classes.get(key), usual)
            aliases = {_spell(surface, usual) for surface in surfaces[key]} - {name, split_camel_case(name).lower()}
            score = round(value * math.log2(1 + spread[key]), 2)
            yield Term(key, name, tuple(sorted(aliases)), uses[key], spread[key], score)


def c_values(uses: Mapping[str, int]) -> dict[str, float]:
    """Return the C-value of each phrase.

    Args:
        uses: How often each phrase is used, within longer phrases too.
    """
    inside: defaultdict[str, list[int]] = defaultdict(list)
    for phrase, number in uses.items():
        for part in _proper_parts(phrase.split()):
            if part in uses:
                inside[part].append(number)
    values: dict[str, float] = {}
    for phrase, number in uses.items():
        longer = inside.get(phrase)
        own = number - sum(longer) / len(longer) if longer else number
        values[phrase] = math.log2(1 + len(phrase.split())) * own
    return values


def _proper_parts(words: list[str]) -> Iterator[str]:
    for start in range(len(words)):
        for end in range(start + 1, len(words) + 1):
            if end - start < len(words):
                yield key_of(" ".join(words[start:end]))


def usual_spellings(spellings: Mapping[str, int]) -> dict[str, str]:
    """Return the most frequent spelling of each word, by the word in lower case."""
    usual: dict[str, str] = {}
    for word, number in spellings.items():
        known = usual.get(word.lower())
        if known is None or (number, word) > (spellings[known], known):
            usual[word.lower()] = word
    return usual


def _name(surfaces: Counter[str], classes: Counter[str] | None, usual: Mapping[str, str]) -> str:
    """Return how to show a term: written out rather than as an acronym, or as a class if it is only ever used so."""
    if classes is not None and classes.total() >= surfaces.total():
        return max(classes, key=lambda name: (classes[name], -len(name), name))
    lengths = {surface: surface.replace("-", " ").count(" ") for surface in surfaces}
    candidates = [surface for surface in surfaces if lengths[surface] == max(lengths.values())]
    return _spell(max(candidates, key=lambda surface: (surfaces[surface], surface)), usual)


def _spell(phrase: str, usual: Mapping[str, str]) -> str:
    """Return a phrase in the singular, with the usual capitals."""
    *words, last = phrase.split()
    start, hyphen, end = last.rpartition("-")
    return " ".join(usual.get(word, word) for word in [*words, start + hyphen + singular(end)])
