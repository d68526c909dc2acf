"""Step `extract`: which phrases are terms, how they are spelled, and in which order."""

from __future__ import annotations

import pytest

from aioruns.glossary.extract import Runs, Vocabulary, find_phrases, read_words
from aioruns.glossary.load import Document
from aioruns.glossary.markup import Passage, passages_of
from aioruns.glossary.score import Term, c_values, score_terms, usual_spellings
from aioruns.glossary.words import key_of, sentences, singular, split_camel_case


def terms_of(*texts: str) -> dict[str, Term]:
    vocabulary = Vocabulary()
    runs: list[Runs] = []
    for number, text in enumerate(texts):
        learnt, found = read_words(Document(f"{number}.md", tuple(passages_of(text))))
        vocabulary.add(learnt)
        runs.append(found)
    phrases = [find_phrases(one, vocabulary) for one in runs]
    return {term.key: term for term in score_terms(phrases, vocabulary)}


LOOP = "The event loop runs callbacks. Many event loops use a selector. Return the event loop of the thread."


def test_phrases_of_several_words_are_found_and_plurals_are_counted_with_them() -> None:
    term = terms_of(LOOP)["event loop"]
    assert (term.name, term.uses, term.documents, term.aliases) == ("event loop", 3, 1, ())


def test_other_spellings_are_aliases() -> None:
    term = terms_of("A command line option is set. The command-line option is read. Use the command-line option.")
    assert term["command line option"].aliases == ("command line option",)
    assert term["command line option"].name == "command-line option"


def test_acronyms_are_counted_with_what_they_stand_for() -> None:
    text = "The abstract base classes (ABCs) are checked. The abstract base class is used."
    term = terms_of(f"{text} Every ABC is a class. An ABC is it.")["abstract base class"]
    assert (term.name, term.aliases, term.uses) == ("abstract base class", ("ABC",), 5)


def test_the_name_of_a_class_is_a_use_of_its_words() -> None:
    terms = terms_of("A test suite is run. The TestSuite is a list. The ChainMap is a list. A ChainMap is given.")
    assert terms["test suite"].uses == 2
    assert (terms["chain map"].name, terms["chain map"].aliases) == ("ChainMap", ())


@pytest.mark.parametrize(
    "text",
    [
        "Return True if the file is open. Return True if it is closed.",
        "Return value of the call. Returns value of it.",
        "The param self is first. The param self is passed.",
        "Use this, e.g. for files, i.e. now. Use that, e.g. here.",
        "Call foo_bar() or os.path.join(a, b). Call foo_bar() again.",
        "It quickly returns. It quickly returns.",
        "The new thing is good. A new thing is given.",
        "Don't do that. You don't want it.",
    ],
)
def test_phrases_that_are_no_terms_are_not_found(text: str) -> None:
    assert [name for name in terms_of(text) if " " in name] == []


def test_a_verb_begins_no_term_unless_a_determiner_makes_it_a_noun() -> None:
    terms = terms_of("Parse the tree. Parse a tree. To parse trees is hard. You parse trees. The parse tree is deep.")
    assert "parse tree" in terms
    assert terms["parse tree"].uses == 1


def test_what_a_document_lists_as_a_term_is_one_however_it_looks() -> None:
    text = "| word | meaning |\n| --- | --- |\n| prune | to delete old finished runs |\n| key | what a run holds |\n"
    assert {"prune", "key"} <= terms_of(text).keys()


def test_names_with_underscores_and_articles_are_no_declared_terms() -> None:
    text = "| word | meaning |\n| --- | --- |\n| max_size | a number of bytes |\n| your server | a host of yours |\n"
    assert terms_of(text).keys().isdisjoint({"max size", "your server"})


def test_capitals_are_those_that_are_used_inside_sentences() -> None:
    text = "Unicode strings are used. A Unicode string is read. The HTTP header is sent. An HTTP header is parsed."
    terms = terms_of(text)
    assert (terms["unicode string"].name, terms["http header"].name) == ("Unicode string", "HTTP header")


def test_c_value_prefers_long_phrases_and_discounts_what_stands_inside_them() -> None:
    values = c_values({"binary search tree": 4, "search tree": 4, "tree": 10})
    assert values["search tree"] == 0
    assert values["binary search tree"] == 8
    assert values["tree"] == 6


def test_a_term_of_many_documents_scores_higher_than_one_of_a_single_document() -> None:
    terms = terms_of("The event loop is up. An event loop is up. The file object is up.", "A file object is up.")
    assert terms["file object"].score > terms["event loop"].score


def test_the_parts_of_a_document_count_as_one() -> None:
    document = Document("a.md", (Passage(1, "The event loop is up."), Passage(2, "An event loop is up.")))
    whole, parted = Vocabulary(), Vocabulary()
    whole.add(read_words(document)[0])
    runs = Runs()
    for part in document.parts(1):
        learnt, found = read_words(part)
        parted.add(learnt)
        runs.update(found)
    assert parted == whole
    assert runs == read_words(document)[1]


@pytest.mark.parametrize(
    ("word", "expected"),
    [
        ("loops", "loop"),
        ("classes", "class"),
        ("entries", "entry"),
        ("boxes", "box"),
        ("indices", "index"),
        ("status", "status"),
        ("class", "class"),
        ("analysis", "analysis"),
        ("alias", "alias"),
        ("dies", "die"),
        ("bus", "bus"),
    ],
)
def test_plurals_become_singular(word: str, expected: str) -> None:
    assert singular(word) == expected


def test_spellings_of_one_term_have_one_key() -> None:
    assert {key_of(text) for text in ("Event loops", "event-loop", "EVENT LOOP", "event_loop")} == {"event loop"}
    assert key_of("") == ""


def test_names_of_classes_are_split_at_their_humps() -> None:
    names = ["HTTPConnectionPool", "TestCase", "IPv4Address", "Task"]
    assert [split_camel_case(name) for name in names] == ["HTTP Connection Pool", "Test Case", "IPv4 Address", "Task"]


def test_sentences_end_at_full_stops_but_not_at_abbreviations() -> None:
    text = "Use it, e.g. In files.\nIt is fast! See PEP 8. a.b is one."
    assert [sentence for _, sentence in sentences(text)] == [
        "Use it, e.g. In files.",
        "It is fast!",
        "See PEP 8. a.b is one.",
    ]
    assert [text[offset : offset + 2] for offset, _ in sentences(text)] == ["Us", "It", "Se"]


def test_the_usual_spelling_is_the_one_that_is_written_most_often() -> None:
    assert usual_spellings({"Unicode": 3, "unicode": 1, "reStructuredText": 1}) == {
        "unicode": "Unicode",
        "restructuredtext": "reStructuredText",
    }
