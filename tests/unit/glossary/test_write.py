"""Step `write`: what the files hold, and that they are whole or not there."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from aioruns.glossary.load import GlossaryError, Skipped
from aioruns.glossary.review import Dropped, Entry, Review
from aioruns.glossary.write import Origin, as_json, as_markdown, check_output, escape, write_files

ENTRY = Entry(
    "heap", ("priority queue",), "A heap is a tree<T> with `a[k] <= b`.", "src/heap.py", 3, 1, 1, 4.5, ("tree",)
)
RESULT = Review((ENTRY,), (Dropped("stack", "too short"),), ("event loop",))
ORIGIN = Origin("/docs/guide", 2, (Skipped("bad.md", "not UTF-8 text"),))


def test_json_holds_everything() -> None:
    assert json.loads(as_json(RESULT, ORIGIN)) == {
        "folder": "/docs/guide",
        "documents": 2,
        "skipped": [{"source": "bad.md", "reason": "not UTF-8 text"}],
        "entries": [
            {
                "term": "heap",
                "aliases": ["priority queue"],
                "definition": "A heap is a tree<T> with `a[k] <= b`.",
                "source": "src/heap.py",
                "line": 3,
                "uses": 1,
                "documents": 1,
                "score": 4.5,
                "related": ["tree"],
            }
        ],
        "dropped": [{"term": "stack", "reason": "too short"}],
        "undefined": ["event loop"],
    }


def test_the_page_shows_each_entry_with_its_source() -> None:
    page = as_markdown(RESULT, ORIGIN)
    assert page.startswith("# Glossary of guide\n\n1 term from 2 documents")
    assert (
        "## H\n\n**heap** (also priority queue)  \nA heap is a tree\\<T\\> with `a[k] <= b`.  \nSee also: tree" in page
    )
    assert "`src/heap.py`, line 3; used once" in page
    assert "- **stack**: too short" in page
    assert "- `bad.md`: not UTF-8 text" in page
    assert "event loop." in page


def test_text_makes_no_markup() -> None:
    assert escape("a_b *c* <d> [e] `f_g`") == r"a\_b \*c\* \<d\> \[e\] `f_g`"


def test_files_are_written_into_a_folder_that_is_made(tmp_path: Path) -> None:
    folder = tmp_path / "new" / "deep"
    assert write_files(folder, {"a.txt": "one\n", "b.txt": "zwei: ä\n"}) == [folder / "a.txt", folder / "b.txt"]
    assert (folder / "b.txt").read_bytes() == "zwei: ä\n".encode()
    assert sorted(path.name for path in folder.iterdir()) == ["a.txt", "b.txt"]


def test_when_writing_fails_earlier_files_stay_and_nothing_else_is_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_files(tmp_path, {"a.txt": "old", "b.txt": "old"})
    written = 0

    def full_disk(path: Path, data: bytes) -> int:
        nonlocal written
        written += 1
        with path.open("wb") as file:
            file.write(data[:1])
        if written == 2:
            raise OSError(28, "No space left on device")
        return 1

    monkeypatch.setattr(Path, "write_bytes", full_disk)
    with pytest.raises(OSError, match="No space left"):
        write_files(tmp_path, {"a.txt": "new", "b.txt": "new"})
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {"a.txt": "old", "b.txt": "old"}


def test_an_output_that_is_no_folder_is_refused_with_advice(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    for output in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(GlossaryError, match=r"name a folder for the output|name another folder"):
            check_output(output)


def test_an_output_that_may_not_be_written_is_refused_with_advice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "access", lambda path, mode: False)  # Root may write everywhere, so a mode would not do.
    with pytest.raises(GlossaryError, match="may not be written to; name another folder"):
        check_output(tmp_path / "below")


def test_an_output_that_does_not_exist_yet_is_fine(tmp_path: Path) -> None:
    assert check_output(tmp_path / "a" / "b") == tmp_path.resolve() / "a" / "b"
    assert not (tmp_path / "a").exists()
