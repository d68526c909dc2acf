"""Markdown, reStructuredText and docstrings become passages."""

from __future__ import annotations

import textwrap
import time

import pytest

from aioruns.glossary.inline import plain
from aioruns.glossary.markup import Form, Passage, passages_of


def passages(text: str, *, first_line: int = 1, docstring: bool = False, owner: str = "") -> list[Passage]:
    text = textwrap.dedent(text).strip("\n")
    return list(passages_of(text, first_line=first_line, docstring=docstring, owner=owner))


def texts(text: str) -> list[str]:
    return [passage.text for passage in passages(text)]


def test_paragraphs_keep_their_lines() -> None:
    text = """
    First paragraph
    of two lines.

    Second paragraph.
    """
    assert passages(text) == [Passage(1, "First paragraph\nof two lines."), Passage(4, "Second paragraph.")]


def test_headings_rules_code_and_directives_are_no_prose() -> None:
    text = """
    # Heading

    Title
    =====
    Text one.

    ```python
    x = 1
    ```

    Text two::

        code here

    >>> doctest()
    'result'

    .. code-block:: python

       more code

    .. image:: picture.png

    Text three.

    :param x: The first number.
    """
    assert texts(text) == ["Text one.", "Text two:", "Text three."]


def test_comments_do_not_move_the_lines_behind_them() -> None:
    assert passages("<!-- one\ntwo -->\nText.") == [Passage(3, "Text.")]


def test_the_content_of_notes_is_prose() -> None:
    assert texts(".. note:: \n\n   A heap is a tree.") == ["A heap is a tree."]


def test_lists_of_parameters_are_left_out() -> None:
    text = """
    Push an item.

    Args:
        item: The item to push.
        priority: A number.

    The heap is kept in order.
    """
    assert texts(text) == ["Push an item.", "The heap is kept in order."]


def test_entries_of_a_glossary_are_terms_with_definitions() -> None:
    text = """
    .. glossary::

       event loop
          A loop that runs callbacks
          and tasks.

       task
          A coroutine that the event loop runs.
    """
    assert passages(text) == [
        Passage(4, "A loop that runs callbacks\nand tasks.", "entry", "event loop"),
        Passage(8, "A coroutine that the event loop runs.", "entry", "task"),
    ]


def test_a_table_of_two_columns_is_a_list_of_definitions() -> None:
    text = """
    | word | meaning |
    | --- | --- |
    | **lease** | a manager's proof of life |
    | a | b | c |
    """
    assert passages(text) == [Passage(3, "a manager's proof of life", "row", "lease")]


@pytest.mark.parametrize(
    ("text", "form"),
    [
        ("- **event loop**: runs callbacks", "lead"),
        ("* `event loop` -- runs callbacks", "lead"),
        ("event loop: runs callbacks", "label"),
        ("1. event loop — runs callbacks", "label"),
    ],
)
def test_a_term_before_a_colon_or_a_dash_is_told_from_its_text(text: str, form: Form) -> None:
    assert passages(text) == [Passage(1, "runs callbacks", form, "event loop")]


def test_a_colon_inside_a_sentence_makes_no_term() -> None:
    (passage,) = passages("This is a long sentence about something, and then: a list of more.")
    assert passage.form == "prose"


def test_consecutive_labels_are_passages_of_their_own() -> None:
    found = passages("first word -- one thing\n    and more\nsecond word -- another thing")
    assert [(one.line, one.term, one.text) for one in found] == [
        (1, "first word", "one thing\nand more"),
        (3, "second word", "another thing"),
    ]


def test_in_a_docstring_a_list_of_definitions_is_rather_one_of_parameters() -> None:
    _, passage = passages_of("Wait.\n\n    timeout\n        Seconds to wait at most.\n", docstring=True)
    assert (passage.form, passage.term) == ("label", "timeout")


def test_the_first_paragraph_of_a_class_is_about_the_class() -> None:
    first, second = passages("A queue.\n\n    More of it.\n    ", first_line=7, docstring=True, owner="Queue")
    assert first == Passage(7, "A queue.", "class", "Queue")
    assert second == Passage(9, "More of it.")


def test_grammars_and_drawings_are_no_prose() -> None:
    assert texts("stmt: simple_stmt | ('(' [args] ')')* NEWLINE") == []


@pytest.mark.parametrize(
    ("markup", "text"),
    [
        ("a **bold** and *slanted* word", "a bold and slanted word"),
        ("``code`` and :class:`~asyncio.Task`", "`code` and `asyncio.Task`"),
        ("a :term:`event loop <loop>` runs", "a event loop runs"),
        ("see [the docs](https://example.org/x) now", "see the docs now"),
        ("see `the docs <https://example.org/x>`_ now", "see the docs now"),
        ("an image ![alt](x.png)", "an image "),
        ("the {attr}`object.__dict__` attribute", "the `object.__dict__` attribute"),
        ("``quoted'' and `so'", "\"quoted\" and 'so'"),
        ("takes *args and **kwargs", "takes *args and **kwargs"),
        ("``task``\\ s are", "`task`s are"),
        ("footnote [1]_ here", "footnote  here"),
    ],
)
def test_inline_markup_is_taken_away(markup: str, text: str) -> None:
    assert plain(markup) == text


@pytest.mark.parametrize("nasty", ["[", "`", "*", "<!--", ":a:`", "![", "a.", "(", "| a ", "\\"])
def test_a_long_run_of_opening_marks_takes_no_square_of_its_length(nasty: str) -> None:
    begin = time.process_time()
    list(passages_of(nasty * (200_000 // len(nasty))))
    assert time.process_time() - begin < 60  # It takes half a second; quadratic, it takes minutes.
