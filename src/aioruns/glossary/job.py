"""The job: five steps over the documents of one folder.

Only this module knows about runs. It gives blocking work to worker threads in small pieces, so that the event loop
stays free and a cancel waits for one piece at most.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar, TypeVarTuple

import anyio.to_thread

from aioruns import current_run, job
from aioruns.glossary.define import Definition, find_definitions
from aioruns.glossary.extract import Phrases, Runs, Vocabulary, find_phrases, read_words
from aioruns.glossary.load import (
    Document,
    GlossaryError,
    Skipped,
    UnreadableDocument,
    check_folder,
    find_documents,
    read_passages,
    source_of,
)
from aioruns.glossary.review import Review, review
from aioruns.glossary.score import Term, score_terms
from aioruns.glossary.write import JSON_NAME, MARKDOWN_NAME, Origin, as_json, as_markdown, check_output, write_files

T = TypeVar("T")
Ts = TypeVarTuple("Ts")


@dataclass(frozen=True, slots=True)
class Summary:
    """What the job made of the folder."""

    folder: str
    documents: int
    """Documents that contain prose."""
    skipped: int
    """Documents that could not be read."""
    terms: int
    dropped: int
    """Terms without a good enough definition."""
    json_file: str
    markdown_file: str


@job(name="build_glossary")
async def build_glossary(folder: str, output: str) -> Summary:
    """Build a glossary from the documents below a folder.

    If it is cancelled, it stops after the current small piece of work and writes no file.

    Args:
        folder: Where the documents are, recursively: ``.md``, ``.rst``, ``.txt`` and the docstrings of ``.py`` files.
        output: Folder for ``glossary.json`` and ``glossary.md``. The job makes it if it is missing, and replaces
            earlier files.

    Raises:
        GlossaryError: There is nothing to read or nowhere to write; call ``check_folder`` and ``check_output`` first.
        OSError: The files could not be written.
    """
    root = await in_thread(check_folder, folder)
    target = await in_thread(check_output, output)
    documents, skipped = await load(root, target)
    parts = [part for document in documents for part in document.parts()]
    terms, vocabulary = await extract(parts)
    definitions = await define(parts, terms, vocabulary)
    result = await judge(terms, definitions)
    json_file, markdown_file = await write(result, Origin(str(root), len(documents), tuple(skipped)), target)
    return Summary(
        str(root),
        len(documents),
        len(skipped),
        len(result.entries),
        len(result.dropped),
        str(json_file),
        str(markdown_file),
    )


async def load(root: Path, target: Path) -> tuple[list[Document], list[Skipped]]:
    """Read all documents; if one cannot be read, log a warning and go on."""
    ctx = current_run()
    earlier = {target / JSON_NAME, target / MARKDOWN_NAME}
    paths = await in_thread(collect, find_documents(root, leave_out=earlier))
    documents: list[Document] = []
    skipped: list[Skipped] = []
    for path in ctx.track(paths, step="load"):
        source = source_of(path, root)
        try:
            passages = await in_thread(collect, read_passages(path))
        except UnreadableDocument as error:
            ctx.log("warning", f"skipped {source}: {error}", source=source)
            skipped.append(Skipped(source, str(error)))
        else:
            if passages:
                documents.append(Document(source, tuple(passages)))
    if not documents:
        raise GlossaryError(
            f"none of the {len(paths)} files below {root} holds text; name a folder with documents in English"
        )
    ctx.logger.info("read %d documents, skipped %d", len(documents), len(skipped))
    return documents, skipped


async def extract(parts: list[Document]) -> tuple[list[Term], Vocabulary]:
    """Learn from all documents first, and use that to look for terms in each."""
    ctx = current_run()
    vocabulary = Vocabulary()
    runs: dict[str, Runs] = {}
    sources = len({part.source for part in parts})
    total = len(parts) + sources + 1
    for done, part in enumerate(parts):
        ctx.set_progress(done, total, step="extract", message=f"reading {part.source}")
        learnt, found = await in_thread(read_words, part)
        vocabulary.add(learnt)
        runs.setdefault(part.source, Runs()).update(found)
    phrases: list[Phrases] = []
    for done, (source, found) in enumerate(runs.items(), len(parts)):
        ctx.set_progress(done, total, step="extract", message=f"searching {source}")
        phrases.append(await in_thread(find_phrases, found, vocabulary))
    ctx.set_progress(total - 1, total, step="extract", message="scoring")
    terms = await in_thread(collect, score_terms(phrases, vocabulary))
    ctx.set_progress(total, total, step="extract")
    ctx.logger.info("found %d phrases that may be terms", len(terms))
    return terms, vocabulary


async def define(parts: list[Document], terms: list[Term], vocabulary: Vocabulary) -> list[Definition]:
    """Look for definitions of the terms in all documents."""
    ctx = current_run()
    keys = {term.key for term in terms}
    definitions: list[Definition] = []
    for part in ctx.track(parts, step="define"):
        definitions += await in_thread(collect, find_definitions(part, keys, vocabulary))
    ctx.logger.info("found %d definitions of %d terms", len(definitions), len({found.key for found in definitions}))
    return definitions


async def judge(terms: list[Term], definitions: list[Definition]) -> Review:
    """Choose the entries, and log why others were dropped."""
    ctx = current_run()
    ctx.set_progress(0, len(definitions), step="review")
    result = await in_thread(review, terms, definitions)
    ctx.set_progress(len(definitions), len(definitions), step="review")
    reasons = Counter(dropped.reason.partition(":")[0] for dropped in result.dropped)
    ctx.log(
        "info", f"kept {len(result.entries)} terms, dropped {len(result.dropped)}", reasons=dict(reasons.most_common())
    )
    return result


async def write(result: Review, origin: Origin, target: Path) -> tuple[Path, Path]:
    """Write both files, unless the run has been asked to end."""
    ctx = current_run()
    ctx.set_progress(0, 2, step="write")
    contents = {JSON_NAME: as_json(result, origin), MARKDOWN_NAME: as_markdown(result, origin)}
    ctx.raise_if_cancelled()
    json_file, markdown_file = await in_thread(write_files, target, contents)
    ctx.set_progress(2, 2, step="write")
    return json_file, markdown_file


def collect(items: Iterable[T]) -> list[T]:
    """Make a list in a worker thread, and stop between two items if the run has been asked to end."""
    ctx = current_run()
    collected: list[T] = []
    for item in items:
        ctx.raise_if_cancelled()
        collected.append(item)
    return collected


async def in_thread(function: Callable[[*Ts], T], *args: *Ts) -> T:
    """Run blocking code in a worker thread, and wait for its end even when cancelled.

    Nothing can stop a thread from outside. Without the wait, the run would be ``cancelled`` while the thread works on.
    """
    thread = asyncio.ensure_future(anyio.to_thread.run_sync(function, *args))
    cancelled: asyncio.CancelledError | None = None
    while not thread.done():
        try:
            await asyncio.wait([thread])
        except asyncio.CancelledError as error:
            cancelled = error
    if cancelled is not None:
        if not thread.cancelled():
            thread.exception()  # Mark it as retrieved: nobody needs an error that came after the cancel.
        raise cancelled
    return thread.result()
