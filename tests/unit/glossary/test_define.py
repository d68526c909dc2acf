"""Step `define`: which sentences are definitions, of what, and where they stand."""

from __future__ import annotations

from collections.abc import Collection, Iterator

import pytest

from aioruns.glossary.define import Definition, find_definitions
from aioruns.glossary.extract import Vocabulary, read_words
from aioruns.glossary.load import Document
from aioruns.glossary.markup import Passage, passages_of
from aioruns.glossary.words import FUNCTION_WORDS


class Phrases:
    """A collection of all keys that could be terms."""

    def __contains__(self, key: object) -> bool:
        return isinstance(key, str) and FUNCTION_WORDS.isdisjoint(key.split())

    def __len__(self) -> int:
        return 0

    def __iter__(self) -> Iterator[str]:
        return iter(())


def definitions(
    text: str, *, source: str = "a.md", keys: Collection[str] | None = None, docstring: bool = False, owner: str = ""
) -> list[Definition]:
    document = Document(source, tuple(passages_of(text, docstring=docstring, owner=owner)))
    vocabulary = read_words(document)[0]
    return list(find_definitions(document, Phrases() if keys is None else keys, vocabulary))


def weights(text: str, *, source: str = "a.md") -> dict[str, int]:
    return {found.key: found.weight for found in definitions(text, source=source)}


@pytest.mark.parametrize(
    ("sentence", "key"),
    [
        ("A heap is a tree that is kept in an array.", "heap"),
        ("An event loop is the core of every asyncio program.", "event loop"),
        ("Heaps are trees for which every parent is smaller.", "heap"),
        ("Named tuples are immutable sequences with field names.", "named tuple"),
        ("A lease represents a promise of the manager.", "lease"),
        ("A chunk consists of an identifier and the data.", "chunk"),
        ('A "shelf" is a persistent, dictionary-like object.', "shelf"),
        ("Sort it (a heap is a tree) before use.", "heap"),
    ],
)
def test_a_sentence_about_any_of_its_kind_surely_is_a_definition(sentence: str, key: str) -> None:
    assert weights(sentence) == {key: 4}


@pytest.mark.parametrize(
    "sentence",
    [
        "The event loop is the core of every asyncio program.",
        "The harmonic mean is the reciprocal of a mean.",
    ],
)
def test_a_sentence_about_the_one_is_a_weak_definition(sentence: str) -> None:
    assert list(weights(sentence).values()) == [2]


@pytest.mark.parametrize(
    "sentence",
    [
        "The result is a list.",
        "It is a list of names.",
        "alpha is the scale parameter of the distribution.",
        "A heap is used to sort.",
        "A heap is the same as a tree.",
        "Heaps are sorted by their keys.",
        "Relative paths are interpreted relative to the folder.",
        "Return True if the heap is a tree.",
        "Patterns is a sequence of glob-style patterns.",
    ],
)
def test_other_sentences_are_no_definitions(sentence: str) -> None:
    assert definitions(sentence) == []


def test_what_something_is_called_defines_the_name() -> None:
    (found,) = definitions("Each object in a parse tree is called a 'token', and has a type.")
    assert (found.key, found.weight) == ("token", 3)


def test_another_name_in_brackets_is_an_alias() -> None:
    (found,) = definitions("HTTP (Hypertext Transfer Protocol) is an extensible protocol.")
    assert (found.key, found.alias) == ("http", "Hypertext Transfer Protocol")


def test_a_glossary_counts_more_than_another_list() -> None:
    text = "event loop\n    A loop that runs callbacks."
    assert weights(text, source="docs/glossary.rst") == {"event loop": 5}
    assert weights(text, source="docs/guide.rst") == {"event loop": 4}


def test_the_row_of_a_table_and_an_emphasised_term_define() -> None:
    table = "| word | meaning |\n|---|---|\n| prune | to delete old runs |"
    assert weights(table) == {"prune": 4}
    assert weights("- **event loop**: runs the callbacks") == {"event loop": 3}


def test_one_word_before_a_colon_is_the_name_of_a_parameter() -> None:
    assert definitions("timeout: a number of seconds") == []
    assert weights("event loop: a queue of callbacks") == {"event loop": 3}


def test_the_docstring_of_a_class_defines_what_the_class_is_named_after() -> None:
    (found,) = definitions("Dialog for finding a pattern in text.", docstring=True, owner="SearchDialog")
    assert (found.key, found.weight, found.alias) == ("search dialog", 3, "SearchDialog")


@pytest.mark.parametrize(
    ("owner", "summary"),
    [
        ("ParsingError", "A problem in a file that is parsed."),
        ("_Helper", "A helper for the interactive prompt."),
        ("Queue", "Create a queue object with a given maximum size."),
        ("Event", "Class implementing event objects."),
        ("Message", "Base class for all messages of the protocol."),
        ("LineNumbers", "A bar with the numbers of the lines."),
        ("Integral", "Integral adds methods that work on integral numbers."),
    ],
)
def test_a_docstring_that_says_what_to_do_or_what_for_defines_nothing(owner: str, summary: str) -> None:
    assert definitions(summary, docstring=True, owner=owner) == []


def test_an_order_is_no_definition() -> None:
    document = Document("a.md", (Passage(1, "Press the key and wait.", "lead", "save file"),))
    vocabulary = Vocabulary()
    vocabulary.verbs["press"] = 1
    assert list(find_definitions(document, {"save file"}, vocabulary)) == []


def test_only_what_is_asked_for_is_found() -> None:
    text = "A heap is a tree in an array. A stack is a list with two ends."
    assert [found.key for found in definitions(text, keys={"stack"})] == ["stack"]


def test_a_definition_tells_its_file_and_line() -> None:
    (found,) = definitions("Some text\ncomes first. A heap\nis a tree in an array.", source="docs/heap.md")
    assert (found.source, found.line, found.text) == ("docs/heap.md", 2, "A heap is a tree in an array.")
    assert found.says == "a tree in an array."


def test_a_sentence_of_a_whole_page_is_not_looked_at() -> None:
    assert definitions("A heap is a tree " + "and a tree " * 200) == []
