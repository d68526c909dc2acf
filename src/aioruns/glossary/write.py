"""Step ``write``: write the glossary as ``glossary.json`` for programs and ``glossary.md`` for readers."""

from __future__ import annotations

import json
import os
import re
import secrets
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from itertools import groupby
from pathlib import Path

from aioruns.glossary.load import GlossaryError, Skipped
from aioruns.glossary.review import Entry, Review

JSON_NAME = "glossary.json"
MARKDOWN_NAME = "glossary.md"


@dataclass(frozen=True, slots=True)
class Origin:
    """What a glossary was made from."""

    folder: str
    documents: int
    skipped: tuple[Skipped, ...] = ()


def check_output(output: str | Path) -> Path:
    """Resolve the folder to write to; it need not exist yet.

    Returns:
        Its absolute path.

    Raises:
        GlossaryError: The path is a file, or cannot be written to.
    """
    try:
        path = Path(output).expanduser().resolve()
        nearest = next(parent for parent in [path, *path.parents] if parent.exists())
    except (OSError, RuntimeError) as error:
        raise GlossaryError(f"{output} cannot be used for the output ({error}); name another folder") from None
    if not nearest.is_dir():
        raise GlossaryError(f"{nearest} is a file; name a folder for the output")
    if not os.access(nearest, os.W_OK | os.X_OK):
        raise GlossaryError(f"{nearest} may not be written to; name another folder for the output")
    return path


def as_json(result: Review, origin: Origin) -> str:
    """Return the glossary as a JSON document, which is the same for the same documents."""
    content = {**asdict(origin), **asdict(result)}
    return json.dumps(content, ensure_ascii=False, indent=2) + "\n"


def as_markdown(result: Review, origin: Origin) -> str:
    """Return the glossary as a page to read."""
    terms = "1 term" if len(result.entries) == 1 else f"{len(result.entries)} terms"
    count = f"{terms} from {origin.documents} documents below `{origin.folder}`."
    where = "Every definition is a sentence found there; its file and line stand below it."
    lines = [f"# Glossary of {escape(Path(origin.folder).name or origin.folder)}", "", f"{count} {where}", ""]
    for letter, entries in groupby(result.entries, key=lambda entry: entry.term[0].upper()):
        lines += [f"## {letter}", "", *(line for entry in entries for line in _paragraph(entry))]
    if result.undefined:
        lines += ["## Used much, defined nowhere", "", escape(", ".join(result.undefined)) + ".", ""]
    if result.dropped:
        lines += ["## Dropped in review", ""]
        lines += [f"- **{escape(dropped.term)}**: {escape(dropped.reason)}" for dropped in result.dropped]
        lines += [""]
    if origin.skipped:
        lines += ["## Documents that could not be read", ""]
        lines += [f"- `{skipped.source}`: {escape(skipped.reason)}" for skipped in origin.skipped]
        lines += [""]
    return "\n".join(lines)


def _paragraph(entry: Entry) -> list[str]:
    also = f" (also {escape(', '.join(entry.aliases))})" if entry.aliases else ""
    related = f"  \nSee also: {escape(', '.join(entry.related))}" if entry.related else ""
    places = "one document" if entry.documents == 1 else f"{entry.documents} documents"
    times = "once" if entry.uses == 1 else f"{entry.uses} times in {places}"
    return [
        f"**{escape(entry.term)}**{also}  ",
        f"{escape(entry.definition)}{related}  ",
        f"<small>`{entry.source}`, line {entry.line}; used {times}</small>",
        "",
    ]


def escape(text: str) -> str:
    """Escape a text for Markdown, except what stands in backquotes, which is code already."""
    parts = re.split(r"(`[^`]*`)", text)
    return "".join(part if part.startswith("`") else re.sub(r"([\\*_<>\[\]`])", r"\\\1", part) for part in parts)


def write_files(folder: Path, contents: Mapping[str, str]) -> list[Path]:
    """Write files so that each is complete or absent, whatever happens meanwhile.

    This writes all files under other names first and renames them at the end, which the operating system does at once.

    Args:
        folder: Where to write; made if it is missing.
        contents: The text of each file, by name.

    Raises:
        OSError: The files could not be written; earlier files of these names are unchanged.
    """
    folder.mkdir(parents=True, exist_ok=True)
    pending: list[tuple[Path, Path]] = []
    try:
        for name, text in contents.items():
            temporary = folder / f".{name}.{secrets.token_hex(8)}.tmp"
            pending.append((temporary, folder / name))
            temporary.write_bytes(text.encode("utf-8", "backslashreplace"))
        for temporary, path in pending:
            os.replace(temporary, path)
    finally:
        for temporary, _ in pending:
            temporary.unlink(missing_ok=True)
    return [path for _, path in pending]
