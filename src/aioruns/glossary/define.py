"""Step ``define``: find the sentences that tell what a term is.

It recognises, best first: the entries of a glossary; entries of other lists and tables of definitions, "A heap is a
...", "Heaps are ...", "X means ..."; "X: a ...", "... is called an 'X'", and the docstring of the class that is named
after the term; and, weakest, "The X is a ...", which may be about one particular X.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass

from aioruns.glossary.extract import Vocabulary, is_declared
from aioruns.glossary.load import Document
from aioruns.glossary.markup import Passage
from aioruns.glossary.words import FUNCTION_WORDS, KIND, key_of, sentences, split_camel_case

LONGEST = 800
"""The most characters in a sentence; longer ones are ignored."""


@dataclass(frozen=True, slots=True)
class Definition:
    """A sentence that tells what a term is, and where it stands."""

    key: str
    text: str
    source: str
    line: int
    weight: int
    """How surely this is a definition, from 1 to 5."""
    says: str
    """What the sentence says about the term."""
    alias: str = ""
    """Another name that the sentence gives the term."""


@dataclass(frozen=True, slots=True)
class _Found:
    key: str
    weight: int
    says: str
    alias: str = ""
    text: str = ""
    """The sentence, if it is only a part of the examined text."""


_STATEMENT = re.compile(
    r"(?P<opening>In [A-Z]\w+, |In general, |Formally,? |Basically, |Technically, |Note that )?"
    r"(?P<article>(?:An?|an?|The|Each|Every|Any) )?"
    r"(?P<term>[\"']?[A-Za-z][\w-]*(?: [A-Za-z][\w-]*){0,4}?[\"']?)"
    r"(?: \((?P<alias>[^()]{2,40})\)|, (?:also|sometimes|or) [^,]{2,50},)? "
    r"(?P<verb>is|are|means|denotes?|refers? to|represents?|consists? of|contains?|holds?|encapsulates?) (?P<says>.+)"
)
_ASIDE = re.compile(r"\((?P<sentence>[Aa]n? [^()]{3,80}? is an? [^()]+)\)")
_CALLED = re.compile(
    r" (?:is|are) (?:also )?(?:called|known as|referred to as) (?:an? |the )?([\"'])(?P<term>[\w -]{2,60})\1"
)
_SUMMARY = re.compile(
    r"(?:An?|Represents?|Describes?) \w"
    r"|(?:The )?[\w-]*[^\Ws](?: (?!an?\b|the\b)[\w-]+){0,3}? (?:of|that|which|for|whose|used) "
)
_NO_SUMMARY = re.compile(
    r"(?:[\w-]+ ){0,3}(?:class\b(?! that| whose)|mix-?in|deprecated|internal|legacy|implementation)"
    r"|raised|exception|dummy|this|interface|an? subclass",
    re.IGNORECASE,
)


def find_definitions(document: Document, keys: Collection[str], vocabulary: Vocabulary) -> Iterator[Definition]:
    """Find what a document says about some terms.

    Args:
        document: Where to look.
        keys: The terms, as ``key_of`` spells them.
        vocabulary: How the documents use their words; a definition does not begin with an imperative.
    """
    for passage in document.passages:
        for offset, sentence in sentences(passage.text):
            if len(sentence) > LONGEST:
                continue
            found = None
            if offset == 0 and passage.term and not vocabulary.is_imperative(sentence.split()[0].lower()):
                found = _from_label(passage, sentence, document, keys)
            found = found or _from_sentence(sentence)
            if found is not None and found.key in keys:
                line = passage.line + passage.text.count("\n", 0, offset)
                text = found.text or sentence
                yield Definition(found.key, text, document.source, line, found.weight, found.says, found.alias)


def _from_label(passage: Passage, sentence: str, document: Document, keys: Collection[str]) -> _Found | None:
    """Examine the first sentence after a term, or of the docstring of a class."""
    key = key_of(passage.term)
    match passage.form:
        case "class":
            return _from_class(passage.term, sentence)
        case "row" | "entry" if is_declared(passage, document):
            about = _from_sentence(sentence)
            return about if about and about.key in keys else _Found(key, 4 + document.is_glossary, sentence)
        case "entry" if re.match(r"[A-Z][a-z]+s an? ", sentence):
            return _Found(key, 4, sentence)
        case "lead":
            return _Found(key, 3, sentence)
        case "label" if " " in passage.term and KIND.match(sentence):
            return _Found(key, 3, sentence)  # One word before a colon is mostly the name of a parameter.
        case _:
            return None


def _from_class(name: str, sentence: str) -> _Found | None:
    sentence = re.sub(rf"^{name} --? ", "", sentence)
    phrase = split_camel_case(name)
    if (
        name.startswith("_")
        or name.endswith(("Error", "Exception", "Warning", "Failure"))
        or key_of(phrase) != phrase.lower()
    ):
        return None
    if _NO_SUMMARY.match(sentence) or not _SUMMARY.match(sentence):
        return None
    if re.match(rf"(?:The )?{name} (?!instances?|objects?|is|are|represents?|widget)", sentence):
        return None
    return _Found(key_of(phrase), 3, sentence, name if " " in phrase else "", text=sentence)


def _from_sentence(sentence: str) -> _Found | None:
    called = _CALLED.search(sentence)
    if called and called.start() >= 12 and re.match(r"(?:An?|Each|Every|Such) ", sentence):
        return _Found(key_of(called["term"]), 3, sentence)
    aside = _ASIDE.search(sentence)
    match = _STATEMENT.match(sentence) or (_STATEMENT.match(aside["sentence"]) if aside else None)
    if match is None:
        return None
    weight = _weight(match)
    if match["opening"]:
        weight = weight - 1 if (match["article"] or "").lower() in ("a ", "an ") else 0
    return (
        _Found(key_of(match["term"].strip("\"'")), weight, match["says"], match["alias"] or "") if weight > 0 else None
    )


def _weight(statement: re.Match[str]) -> int:
    """Judge how surely a statement about something is its definition; 0 if it is none."""
    article = (statement["article"] or "").strip().lower()
    term, verb, says = statement["term"].strip("\"'"), statement["verb"], statement["says"]
    plural = key_of(term) != term.lower().replace("-", " ")
    if (verb == "is" and (plural or not KIND.match(says))) or (verb == "are" and not (plural and _names_a_kind(says))):
        return 0
    several_words = " " in term or "-" in term
    if article in ("the", "each", "every", "any") and not several_words:
        return 0
    if article == "the":
        return 2 if verb == "is" else 0
    if article in ("each", "every", "any") or verb.rstrip("s") in ("contain", "hold", "encapsulate"):
        return 3
    if article or verb == "are":
        return 4
    if not statement["term"][0].isupper():
        return 0  # A word in lower case without an article is the name of a parameter.
    if several_words:
        return 3
    return 2 if re.match(r"an? ", says) else 0


def _names_a_kind(says: str) -> bool:
    """Tell "are arrays for which ..." from "are sorted by ..."."""
    phrase: list[str] = []
    for word in re.findall(r"[\w.'-]+|\S", says):
        if word.lower() in FUNCTION_WORDS or not word[0].isalpha():
            break
        phrase.append(word)
    return bool(phrase) and phrase[-1].endswith("s") and not phrase[-1].endswith("ss")
