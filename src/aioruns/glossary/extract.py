"""Step ``extract``: learn how the documents use their words, and find phrases that may be technical terms.

It tells nouns from verbs by the words around them in these very documents ("the parser of", "to parse the"), so that it
needs no dictionary and gets the language of the trade right.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

from aioruns.glossary.load import Document
from aioruns.glossary.markup import Passage
from aioruns.glossary.words import (
    DETERMINERS,
    FUNCTION_WORDS,
    KIND,
    QUALIFIERS,
    VAGUE,
    VERB_CUES,
    key_of,
    sentences,
    singular,
    split_camel_case,
    words_of,
)

LONGEST = 4
"""The most words in a phrase."""

Runs = Counter[tuple[bool, tuple[str, ...]]]
"""Counts sequences of words between function words, with whether a determiner stood before them."""
Phrases = Counter[tuple[str, str]]
"""Counts phrases that may be terms, by key and spelling."""

_TOKEN = re.compile(r"`[^`\n]{0,200}`|\S+")
_PLAIN_WORD = re.compile(r"([\"'(\[]*)([AaI]|[A-Za-z][A-Za-z0-9]+(?:[-'][A-Za-z0-9]+)*)([\"')\].,;:!?]*)")
_CLASS_NAME = re.compile(r"[A-Z][A-Za-z]{0,40}[a-z][A-Z][A-Za-z]{0,40}")
_ACRONYM = re.compile(r" \(([A-Z]{2,6})s?\)")
_AFTER_NOUN = frozenset({"", "of", "is", "are"})
_BEFORE_PARTICIPLE = frozenset("is are was were be been being has have had isn't aren't wasn't when if".split())


@dataclass(slots=True)
class Vocabulary:
    """How some documents use their words; vocabularies can be added up."""

    nouns: Counter[str] = field(default_factory=Counter[str])
    verbs: Counter[str] = field(default_factory=Counter[str])
    openings: Counter[str] = field(default_factory=Counter[str])
    """First words of sentences, which in documentation are as often verbs as nouns."""
    spellings: Counter[str] = field(default_factory=Counter[str])
    """Words as written inside sentences, where a capital letter means something."""
    declared: set[str] = field(default_factory=set[str])
    """Keys of the phrases that the documents themselves list as terms."""
    acronyms: dict[str, str] = field(default_factory=dict[str, str])
    """Maps an acronym to the key of what it stands for, from "abstract base classes (ABCs)"."""
    classes: dict[str, Counter[str]] = field(default_factory=dict[str, Counter[str]])
    """Maps the key of a phrase to the names of the classes that are named after it."""

    def add(self, other: Vocabulary) -> None:
        """Add another vocabulary to this one."""
        self.nouns.update(other.nouns)
        self.verbs.update(other.verbs)
        self.openings.update(other.openings)
        self.spellings.update(other.spellings)
        self.declared |= other.declared
        self.acronyms.update(other.acronyms)
        for key, names in other.classes.items():
            self.classes.setdefault(key, Counter()).update(names)

    def is_noun(self, word: str) -> bool:
        """Tell whether a word is mostly used as a noun; an unknown plural is treated like its singular."""
        if not (self.nouns[word] or self.verbs[word] or self.openings[word]):
            word = singular(word)
        return self.nouns[word] > 1.5 * (self.verbs[word] + self.openings[word])

    def is_verb(self, word: str) -> bool:
        """Tell whether a word is more often used as a verb than as a noun."""
        return self.verbs[word] + self.openings[word] > self.nouns[word]

    def is_imperative(self, word: str) -> bool:
        """Tell whether a sentence that begins with this word tells somebody to do something."""
        third_person = word.endswith("s") and not word.endswith("ss")
        return self.verbs[word] > 0 and not self.is_noun(word) and not third_person


def read_words(document: Document) -> tuple[Vocabulary, Runs]:
    """Learn from one document.

    Returns:
        How it uses its words, and its runs of words.
    """
    vocabulary, runs = Vocabulary(), Runs()
    for passage in document.passages:
        if is_declared(passage, document):
            vocabulary.declared.add(key_of(passage.term))
            vocabulary.spellings.update(passage.term.split())
        if passage.form in ("row", "entry", "lead"):
            runs[True, tuple(words_of(passage.term))] += 1
        for _, sentence in sentences(passage.text):
            _read_sentence(sentence, vocabulary, runs)
    return vocabulary, runs


def is_declared(passage: Passage, document: Document) -> bool:
    """Tell whether a document lists something as a term, however seldom it is used elsewhere."""
    words = words_of(passage.term)
    if not words or len(passage.term) < 2 or "_" in passage.term or words[0] in FUNCTION_WORDS:
        return False
    return passage.form == "row" or (
        passage.form == "entry" and (document.is_glossary or KIND.match(passage.text) is not None)
    )


def _read_sentence(sentence: str, vocabulary: Vocabulary, runs: Runs) -> None:
    for match in _ACRONYM.finditer(sentence):
        letters = match[1].lower()
        words = words_of(sentence[: match.start()].replace("-", " "))[-len(letters) :]
        if "".join(word[0] for word in words) == letters:
            vocabulary.acronyms[letters] = key_of(" ".join(words))
    tokens = list(_tokens(sentence, vocabulary, runs))
    lower = [token.lower() for token in tokens]
    run: list[str] = []
    before = ""
    for position, word in enumerate([*lower, ""]):
        previous = lower[position - 1] if position else ""
        if word and word not in FUNCTION_WORDS:
            if not run:
                before = previous
            run.append(word)
            following = lower[position + 1] if position + 1 < len(lower) else ""
            if position:
                vocabulary.spellings[tokens[position]] += 1
            if following in DETERMINERS or previous in VERB_CUES:
                vocabulary.verbs[word] += 1
            elif not position:
                vocabulary.openings[word] += 1
            elif previous in _BEFORE_PARTICIPLE:
                pass  # "is given", "if given": the word is neither a noun nor a verb.
            elif previous and (
                following in _AFTER_NOUN or (previous in FUNCTION_WORDS and following in FUNCTION_WORDS)
            ):
                vocabulary.nouns[word] += 1
        elif run:
            runs[before in DETERMINERS, tuple(run)] += 1
            run = []


def _tokens(sentence: str, vocabulary: Vocabulary, runs: Runs) -> Iterator[str]:
    """Yield the words of a sentence, and an empty string between two phrases."""
    for token in _TOKEN.findall(sentence):
        if word := _PLAIN_WORD.fullmatch(token):
            before, text, after = word.groups()
            if before:
                yield ""
            if not _CLASS_NAME.fullmatch(text):
                yield text
            elif text.endswith(("Error", "Exception", "Warning")):
                yield ""
            else:
                # The name of a class counts as a use of the phrase that it is named after.
                words = tuple(words_of(split_camel_case(text)))
                runs[True, words] += 1
                vocabulary.classes.setdefault(key_of(" ".join(words)), Counter())[text] += 1
                yield ""
            if after:
                yield ""
        else:
            yield ""


def find_phrases(runs: Runs, vocabulary: Vocabulary) -> Phrases:
    """Find the phrases that may be terms in the runs of one document."""
    phrases = Phrases()
    for (determined, run), number in runs.items():
        for phrase in _phrases(run, determined, vocabulary):
            key = key_of(phrase)
            phrases[vocabulary.acronyms.get(key, key), phrase] += number
    return phrases


def _phrases(run: tuple[str, ...], determined: bool, vocabulary: Vocabulary) -> Iterator[str]:
    """Yield every part of a run that can be a noun phrase."""
    for start in range(len(run)):
        verb_first = vocabulary.is_verb(run[start])
        for end in range(start + 1, min(start + LONGEST, len(run)) + 1):
            words, head = run[start:end], run[end - 1]
            phrase = " ".join(words)
            if key_of(phrase) not in vocabulary.declared and key_of(phrase) not in vocabulary.classes:
                if len(words) == 1 and key_of(head) in VAGUE:
                    continue
                if any(word in QUALIFIERS or word.endswith("ly") for word in words) or key_of(head) in FUNCTION_WORDS:
                    continue
                # "return the value" is no phrase, "the return value" is one.
                if (
                    not vocabulary.is_noun(head)
                    or head.endswith("ed")
                    or (verb_first and not (determined and start == 0))
                ):
                    continue
            yield phrase
