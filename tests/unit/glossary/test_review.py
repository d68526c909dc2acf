"""Step `review`: what is kept, what is dropped, and the reasons."""

from __future__ import annotations

import pytest

from aioruns.glossary.define import Definition
from aioruns.glossary.review import Review, choose, review
from aioruns.glossary.score import Term


def term(name: str, *, uses: int = 5, documents: int = 3, score: float = 10, aliases: tuple[str, ...] = ()) -> Term:
    return Term(name.lower(), name, aliases, uses, documents, score)


def says(name: str, says: str, *, weight: int = 4, source: str = "a.md", text: str = "", alias: str = "") -> Definition:
    return Definition(name.lower(), text or f"A {name} is {says}", source, 7, weight, says, alias)


GOOD = "a tree that is kept in an array of numbers."


def names(result: Review) -> list[str]:
    return [entry.term for entry in result.entries]


def test_a_well_defined_term_becomes_an_entry() -> None:
    result = review([term("heap", aliases=("Heap",))], [says("heap", GOOD, alias="priority queue")])
    (entry,) = result.entries
    assert (entry.term, entry.aliases, entry.source, entry.line) == ("heap", ("Heap", "priority queue"), "a.md", 7)
    assert entry.definition == f"A heap is {GOOD}"
    assert result.dropped == ()


@pytest.mark.parametrize(
    ("definition", "reason"),
    [
        (says("heap", "a kind of heap."), "circular: little but the term itself"),
        (says("heap", "a good thing."), "too short to explain anything"),
        (says("heap", "a " + "tree of numbers " * 25), "too long for a glossary"),
        (says("heap", "a tree that is described in the following chapter of it."), "refers to its surroundings"),
        (says("heap", "a tree (see the picture of numbers"), "cut off: the rest stands elsewhere"),
        (says("heap", "a row of numbers, for instance:"), "cut off: the rest stands elsewhere"),
        (says("heap", "x = {a: b} | c = {d} <e> == f_g or h.i() tree"), "more code than words"),
        (says("heap", "trees arrays numbers sorted"), "not a sentence"),
        (says("heap", GOOD, text=f"HEAP is {GOOD}"), "about one particular parameter"),
        (
            says(
                "heap",
                "The parser can be used for trees of numbers.",
                text="The parser can be used for trees of numbers.",
            ),
            "a statement about something else",
        ),
    ],
)
def test_a_bad_definition_is_dropped_and_the_reason_is_given(definition: Definition, reason: str) -> None:
    result = review([term("heap")], [definition])
    assert result.entries == ()
    assert [(dropped.term, dropped.reason) for dropped in result.dropped] == [("heap", reason)]


def test_a_weak_definition_of_a_rare_term_is_dropped() -> None:
    rare = term("binary heap", uses=1, documents=1)
    assert choose(rare, [says("binary heap", GOOD, weight=3)]) == (None, "hardly used, and not clearly defined")
    assert choose(rare, [says("binary heap", GOOD, weight=4)])[0] is not None


def test_the_parameter_of_a_function_is_no_term() -> None:
    assert choose(term("mode argument"), [says("mode argument", GOOD, weight=2)]) == (
        None,
        "about one particular parameter",
    )


def test_the_surest_definition_is_chosen_and_a_bad_one_gives_way_to_a_good_one() -> None:
    weak, sure = says("heap", GOOD, weight=2), says("heap", GOOD, weight=5, source="glossary.md")
    bad = says("heap", "a kind of heap.", weight=5)
    assert choose(term("heap"), [weak, sure])[0] is sure
    assert choose(term("heap"), [bad, weak])[0] is weak


def test_of_two_terms_with_one_definition_the_better_is_kept() -> None:
    same = "A tree that is kept in an array."
    result = review(
        [term("heap", score=9), term("binary heap", score=2)],
        [says("heap", same, text=same), says("binary heap", same, text=same)],
    )
    assert names(result) == ["heap"]
    assert result.dropped[0].reason == "duplicate: the same definition as heap"


def test_of_two_terms_that_explain_each_other_the_better_is_kept() -> None:
    result = review(
        [term("heap", score=9), term("pile", score=2)],
        [
            says("heap", "a pile of many numbers that are sorted."),
            says("pile", "a heap of many numbers that are sorted."),
        ],
    )
    assert names(result) == ["heap"]
    assert result.dropped[0].reason == "circular: explained by heap, which is explained by it"


def test_entries_are_in_alphabetical_order_and_name_their_relations() -> None:
    result = review(
        [term("tree"), term("binary tree"), term("Array"), term("heap")],
        [
            says("tree", "a graph without any circles in it."),
            says("binary tree", "a tree with two children for each node."),
            says("Array", "a block of memory with numbers in it."),
            says("heap", "a binary tree that is kept in an array of numbers."),
        ],
    )
    assert names(result) == ["Array", "binary tree", "heap", "tree"]
    assert result.entries[2].related == ("Array", "binary tree")


def test_terms_that_nobody_defines_are_named_best_first() -> None:
    result = review([term("event loop", score=2), term("file object", score=9), term("loop"), term("Jane Doe")], [])
    assert result.undefined == ("file object", "event loop")


def test_a_definition_begins_with_a_capital_and_ends_with_a_full_stop() -> None:
    text = "a tree that is kept in an array of numbers:"
    (entry,) = review([term("heap")], [says("heap", text, text=text)]).entries
    assert entry.definition == "A tree that is kept in an array of numbers."
