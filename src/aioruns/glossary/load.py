"""Step ``load``: find the documents below a folder, and read the text in them."""

from __future__ import annotations

import ast
import os
import stat
from collections.abc import Collection, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from aioruns.glossary.markup import Passage, passages_of

SUFFIXES = frozenset({".md", ".rst", ".txt", ".py"})
MAX_BYTES = 2**20
"""A longer file is data rather than a document, and would delay a cancel for too long."""
SKIPPED_FOLDERS = frozenset(
    "__pycache__ build dist dist-packages idle_test node_modules site-packages test testing tests venv".split()
)
_CONTROL = {code: " " for code in [*range(32), *range(127, 160)] if chr(code) not in "\t\n\r\f"}


class GlossaryError(ValueError):
    """No glossary can be built from these folders; the message tells what to do."""


class UnreadableDocument(Exception):
    """A document cannot be read; others may be fine."""


@dataclass(frozen=True, slots=True)
class Skipped:
    """A file that could not be read, and why."""

    source: str
    reason: str


@dataclass(frozen=True, slots=True)
class Document:
    """One file, as the later steps see it."""

    source: str
    """Path relative to the folder, with forward slashes."""
    passages: tuple[Passage, ...]

    @property
    def is_glossary(self) -> bool:
        """Whether its name suggests that it lists terms."""
        return "glossary" in self.source.lower()

    def parts(self, size: int = 200) -> Iterator[Document]:
        """Yield the document in parts of a few passages, so that a long one does not delay a cancel."""
        for start in range(0, len(self.passages), size):
            yield Document(self.source, self.passages[start : start + size])


def check_folder(folder: str | Path) -> Path:
    """Resolve the folder to read.

    Returns:
        Its absolute path.

    Raises:
        GlossaryError: The folder does not exist, is a file, cannot be read, or has no document below it.
    """
    try:
        path = Path(folder).expanduser().resolve(strict=True)
        if not path.is_dir():
            raise GlossaryError(f"{path} is a file; name the folder that holds the documents")
        os.listdir(path)
    except FileNotFoundError:
        raise GlossaryError(f"{folder} does not exist; name a folder that holds documents") from None
    except (OSError, RuntimeError) as error:  # RuntimeError: an unknown home folder, or a loop of links
        raise GlossaryError(f"{folder} cannot be read ({error}); name a folder that you may read") from None
    if next(find_documents(path), None) is None:
        raise GlossaryError(f"{path} holds no documents; name a folder with .md, .rst, .txt or .py files in it")
    return path


def find_documents(folder: Path, *, leave_out: Collection[Path] = ()) -> Iterator[Path]:
    """Find the files to read, in a stable order.

    This skips hidden folders, test folders and installed packages, and does not follow symbolic links to folders.

    Args:
        folder: Where to look, recursively.
        leave_out: Files to skip, such as an earlier glossary.

    Yields:
        Regular files that are not empty and have one of ``SUFFIXES``.
    """
    for parent, folders, files in os.walk(folder):
        folders[:] = sorted(name for name in folders if name not in SKIPPED_FOLDERS and not name.startswith("."))
        for name in sorted(files):
            path = Path(parent, name)
            if path.suffix.lower() in SUFFIXES and path not in leave_out and _has_content(path):
                yield path


def _has_content(path: Path) -> bool:
    try:
        status = path.stat()
    except OSError:
        return False
    # A named pipe would block its reader for ever.
    return stat.S_ISREG(status.st_mode) and status.st_size > 0


def source_of(path: Path, folder: Path) -> str:
    """Return the name of a file for the glossary, with bytes that are not UTF-8 spelled out."""
    return os.fsencode(path.relative_to(folder).as_posix()).decode("utf-8", "backslashreplace")


def read_passages(path: Path) -> Iterator[Passage]:
    """Read one file.

    Yields:
        Its passages; none if it contains no prose.

    Raises:
        UnreadableDocument: The file cannot be opened, decoded or parsed, or is larger than ``MAX_BYTES``.
    """
    try:
        with path.open("rb") as file:
            content = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise UnreadableDocument(error.strerror or type(error).__name__) from error
    if len(content) > MAX_BYTES:
        raise UnreadableDocument(f"larger than {MAX_BYTES // 2**20} MiB")
    if path.suffix.lower() == ".py":
        yield from _python_passages(content)
        return
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise UnreadableDocument("not UTF-8 text") from error
    yield from passages_of(text.translate(_CONTROL))


def _python_passages(content: bytes) -> Iterator[Passage]:
    try:
        tree = ast.parse(content)
    except (SyntaxError, ValueError) as error:
        raise UnreadableDocument("not Python that this interpreter can parse") from error
    except (RecursionError, MemoryError) as error:
        raise UnreadableDocument("nested too deeply to be parsed") from error
    for literal, owner in _texts(tree):
        text = str(literal.value).translate(_CONTROL)
        last = literal.end_lineno or literal.lineno
        for passage in passages_of(text, first_line=literal.lineno, docstring=owner is not None, owner=owner or ""):
            # A literal with escaped line breaks has more lines of text than lines of source.
            yield replace(passage, line=min(passage.line, last))


def _texts(tree: ast.Module) -> Iterator[tuple[ast.Constant, str | None]]:
    """Yield docstrings with the name of their class or an empty string, and a module's long texts with None."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            match node.body[:1]:
                case [ast.Expr(value=ast.Constant(value=str()) as literal)]:
                    yield literal, node.name if isinstance(node, ast.ClassDef) else ""
                case _:
                    pass
    for statement in tree.body:
        if isinstance(statement, ast.Assign | ast.AnnAssign):
            value = statement.value
            for literal in value.values if isinstance(value, ast.Dict) else [value]:
                if isinstance(literal, ast.Constant) and isinstance(literal.value, str) and _is_prose(literal.value):
                    yield literal, None


def _is_prose(text: str) -> bool:
    """Tell whether a text is prose, such as a help topic, rather than a message, a template or a note on usage."""
    if text.lstrip()[:5].lower() == "usage":
        return False
    return len(text) >= 500 and text.count("\n\n") >= 2 and text.count(". ") + text.count(".\n") >= 4
