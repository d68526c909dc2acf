"""Step `load`: which files are documents, and what is read from them."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from aioruns.glossary.load import (
    MAX_BYTES,
    Document,
    GlossaryError,
    UnreadableDocument,
    check_folder,
    find_documents,
    read_passages,
    source_of,
)
from aioruns.glossary.markup import Passage


def write(path: Path, text: str | bytes = "A heap is a tree.\n") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


def found(folder: Path) -> list[str]:
    return [source_of(path, folder) for path in find_documents(folder)]


def test_documents_are_found_below_the_folder_in_a_stable_order(tmp_path: Path) -> None:
    for name in ("b.md", "a.rst", "sub/c.txt", "sub/deep/d.py", "E.MD"):
        write(tmp_path / name)
    for name in ("picture.png", "no_suffix", "empty.md"):
        write(tmp_path / name, "" if name == "empty.md" else "x")
    assert found(tmp_path) == ["E.MD", "a.rst", "b.md", "sub/c.txt", "sub/deep/d.py"]


def test_tests_hidden_folders_and_installed_packages_are_no_documents(tmp_path: Path) -> None:
    write(tmp_path / "kept.md")
    for folder in ("test", "tests", "site-packages", "__pycache__", ".git", ".venv", "node_modules"):
        write(tmp_path / folder / "x.md")
    assert found(tmp_path) == ["kept.md"]


def test_an_earlier_glossary_is_left_out(tmp_path: Path) -> None:
    earlier = write(tmp_path / "glossary.md")
    kept = write(tmp_path / "kept.md")
    assert list(find_documents(tmp_path, leave_out={earlier})) == [kept]


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no named pipes in folders")
def test_a_named_pipe_is_no_document(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.txt")
    assert found(tmp_path) == []


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda folder: folder / "missing", "does not exist; name a folder that holds documents"),
        (lambda folder: write(folder / "file.md"), "is a file; name the folder"),
        (lambda folder: folder, r"holds no documents; name a folder with \.md, \.rst, \.txt or \.py files"),
    ],
    ids=["missing", "file", "empty"],
)
def test_a_folder_that_cannot_be_used_is_refused_with_advice(
    tmp_path: Path, make: Callable[[Path], Path], message: str
) -> None:
    with pytest.raises(GlossaryError, match=message):
        check_folder(make(tmp_path))


def test_a_folder_that_may_not_be_read_is_refused_with_advice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: Path) -> list[str]:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(os, "listdir", refuse)  # Root may read everything, so a mode would not do.
    with pytest.raises(GlossaryError, match=r"Permission denied.*name a folder that you may read"):
        check_folder(tmp_path)


def test_a_folder_with_documents_is_resolved(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path / "docs/a.md")
    monkeypatch.chdir(tmp_path)
    assert check_folder("docs") == (tmp_path / "docs").resolve()


def test_docstrings_are_read_with_their_lines_and_the_names_of_classes(tmp_path: Path) -> None:
    source = '''"""Tools for heaps."""

import os

class HeapQueue:
    """A queue that is kept
    in a heap.
    """

    async def push(self):
        """Put an item in."""
        text = "no docstring"
'''
    assert list(read_passages(write(tmp_path / "heap.py", source))) == [
        Passage(1, "Tools for heaps."),
        Passage(6, "A queue that is kept\nin a heap.", "class", "HeapQueue"),
        Passage(11, "Put an item in."),
    ]


def test_a_long_text_that_a_module_keeps_is_read_and_a_short_one_is_not(tmp_path: Path) -> None:
    topic = "\n\n".join(["A heap is a tree that is kept in an array. " * 5] * 3)
    source = f'SHORT = "A stack is a list."\ntopics = {{\n    "heap": {topic!r},\n}}\n'
    passages = list(read_passages(write(tmp_path / "topics.py", source)))
    assert [passage.line for passage in passages] == [3, 3, 3]
    assert all(passage.text.startswith("A heap is a tree") for passage in passages)


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("latin.md", b"caf\xe9 is a place", "not UTF-8 text"),
        ("broken.py", b"def f(:\n", "not Python"),
        ("zero.py", b"x = '\0'\n", "not Python"),
        ("deep.py", b"x = " + b"(" * 5000 + b")" * 5000, "not Python|nested too deeply"),
        ("large.txt", b"a " * (MAX_BYTES // 2 + 1), "larger than 1 MiB"),
    ],
)
def test_a_document_that_cannot_be_read_says_why(tmp_path: Path, name: str, content: bytes, reason: str) -> None:
    with pytest.raises(UnreadableDocument, match=reason):
        list(read_passages(write(tmp_path / name, content)))


def test_a_document_that_has_gone_says_why(tmp_path: Path) -> None:
    with pytest.raises(UnreadableDocument, match="No such file"):
        list(read_passages(tmp_path / "gone.md"))


def test_python_in_another_encoding_is_read(tmp_path: Path) -> None:
    source = '# -*- coding: latin-1 -*-\n"""A café is a place."""\n'.encode("latin-1")
    assert [passage.text for passage in read_passages(write(tmp_path / "cafe.py", source))] == ["A café is a place."]


def test_a_byte_order_mark_and_control_characters_do_not_show(tmp_path: Path) -> None:
    path = write(tmp_path / "a.md", b"\xef\xbb\xbfA heap is \x1b[31m a tree.\x07\n")
    assert [passage.text for passage in read_passages(path)] == ["A heap is  [31m a tree."]


def test_a_file_name_that_is_no_utf8_is_spelled_out() -> None:
    path = Path("/docs") / os.fsdecode(b"caf\xe9.md")
    assert source_of(path, Path("/docs")).isprintable()


def test_a_long_document_is_worked_on_in_parts() -> None:
    passages = tuple(Passage(line, "text") for line in range(5))
    parts = list(Document("a.md", passages).parts(2))
    assert [len(part.passages) for part in parts] == [2, 2, 1]
    assert {part.source for part in parts} == {"a.md"}
