"""``aioruns demo`` as its users meet it: a process of its own, its output, its exit code, and what it leaves behind."""

from __future__ import annotations

import asyncio
import contextlib
import importlib.metadata
import json
import os
import signal
import sqlite3
import sys
from pathlib import Path
from typing import Any, Self

import pytest
from tests.e2e.commands import TIMEOUT, Command, Start
from tests.support import eventually, rows

from aioruns import RunManager, RunStatus, current_run, job
from aioruns.cli import _demo

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals")


def freeze(demo: Command, database: Path) -> None:
    """Stop a demo in the middle of its run, but not in the middle of a commit, which would keep others waiting."""
    demo.wait_for("load: 0 of")
    demo.stop()
    while is_locked(database):
        demo.signal(signal.SIGCONT)
        demo.stop()


def is_locked(database: Path) -> bool:
    """Tell whether somebody is writing to the database right now."""
    with contextlib.closing(sqlite3.connect(database, timeout=0, isolation_level=None)) as connection:
        try:
            connection.execute("BEGIN IMMEDIATE")
            connection.execute("ROLLBACK")
        except sqlite3.OperationalError:
            return True
    return False


def test_the_glossary_of_a_folder_is_built_and_summed_up(start: Start, tmp_path: Path, documents: Path) -> None:
    code, output, errors = start("demo", documents, "--output", "out").end()
    assert (code, errors) == (0, "")
    lines = output.splitlines()
    assert lines[0] == f"run 1 builds the glossary of {documents}; Ctrl-C cancels it"
    assert lines[1].startswith("watch it at http://127.0.0.1:")
    steps = [line.split(":")[0] for line in lines if " of " in line and line.split(":")[0].isalpha()]
    assert list(dict.fromkeys(steps)) == ["load", "extract", "define", "review", "write"]
    assert any(line.startswith("run 1 completed after ") for line in lines)
    assert "2 terms from 2 documents, 0 dropped in review" in lines
    assert "  binary heap: A binary heap is a tree that is kept in an array of numbers." in lines
    assert f"The glossary: {tmp_path / 'out' / 'glossary.md'}" in lines
    assert "runs.db" in lines[-1]

    glossary = json.loads((tmp_path / "out" / "glossary.json").read_text("utf-8"))
    assert glossary.keys() == {"folder", "documents", "skipped", "entries", "dropped", "undefined"}
    fields = {"term", "aliases", "definition", "source", "line", "uses", "documents", "score", "related"}
    assert [entry.keys() for entry in glossary["entries"]] == [fields, fields]
    assert [(entry["term"], entry["source"], entry["line"]) for entry in glossary["entries"]] == [
        ("binary heap", "guide.md", 4),
        ("event queue", "events.rst", 1),
    ]
    assert (tmp_path / "out" / "glossary.md").read_text("utf-8").startswith("# Glossary of documents")

    (row,) = rows(tmp_path / "runs.db")
    assert (row["job"], row["status"], row["triggered_by"]) == ("build_glossary", "completed", "cli")
    assert row["key"] == f"glossary:{documents}"
    assert json.loads(row["result"])["terms"] == 2


def test_output_to_a_pipe_has_no_control_codes_whatever_a_file_is_called(start: Start, documents: Path) -> None:
    (documents / "evil\x1b[31m\x07\n[bold]red.md").write_bytes(b"caf\xe9")
    code, output, errors = start("demo", documents, FORCE_COLOR="1").end()
    assert (code, errors) == (0, "")
    assert "warning: skipped evil" in output
    assert "[bold]red.md: not UTF-8 text" in output
    assert all(character.isprintable() for line in output.splitlines() for character in line)


@pytest.mark.parametrize("plain", [False, True])
def test_on_a_terminal_bars_are_drawn_unless_no_colour_is_asked_for(start: Start, documents: Path, plain: bool) -> None:
    environment = {"TERM": "xterm-256color", "COLUMNS": "100"} | ({"NO_COLOR": "1"} if plain else {})
    demo = start("demo", documents, terminal=True, **environment)
    demo.wait_for("The dashboard stays open until you press Ctrl-C")
    demo.press_ctrl_c()
    code, output, errors = demo.end()
    assert (code, errors) == (0, ""), output
    assert ("\x1b[" in output) is not plain
    assert ("write: 2 of 2" in output) is plain
    assert "2 terms from 2 documents" in output


def test_ctrl_c_cancels_the_run_waits_for_its_end_and_leaves_no_files(
    start: Start, tmp_path: Path, many_documents: Path
) -> None:
    demo = start("demo", many_documents, "--output", "out")
    freeze(demo, tmp_path / "runs.db")
    demo.signal(signal.SIGINT)
    demo.signal(signal.SIGCONT)
    code, output, errors = demo.end()
    assert (code, errors) == (1, "")
    assert "cancelling…" in output
    assert "run 1 cancelled after " in output
    (row,) = rows(tmp_path / "runs.db")
    assert (row["status"], row["cancel_reason"], row["error"]) == ("cancelled", "Ctrl-C", None)
    assert not (tmp_path / "out").exists()


def test_a_killed_demo_is_reported_as_interrupted_and_can_be_started_again(
    start: Start, tmp_path: Path, many_documents: Path
) -> None:
    killed = start("demo", many_documents)
    freeze(killed, tmp_path / "runs.db")
    killed.signal(signal.SIGKILL)
    assert killed.end()[0] == -signal.SIGKILL
    assert [row["status"] for row in rows(tmp_path / "runs.db")] == ["running"]
    assert not (tmp_path / "glossary.json").exists()

    code, output, errors = start("demo", many_documents).end()
    assert (code, errors) == (0, "")
    assert output.startswith("run 1 was interrupted: ")
    assert "run 2 completed after " in output
    assert [row["status"] for row in rows(tmp_path / "runs.db")] == ["interrupted", "completed"]

    code, output, errors = start("demo", many_documents).end()
    assert (code, errors) == (0, "")
    assert "interrupted" not in output, "it has been made up for, and is no news"


def test_a_second_demo_on_the_same_folder_is_refused_while_the_first_is_at_it(
    start: Start, tmp_path: Path, documents: Path, many_documents: Path
) -> None:
    first = start("demo", many_documents, "--output", "first")
    freeze(first, tmp_path / "runs.db")
    code, output, errors = start("demo", many_documents, "--output", "second").end()
    assert (code, output) == (4, "")
    assert errors == (
        f"aioruns: run 1, kept in runs.db, is building the glossary of {many_documents}; wait until it has ended\n"
    )
    assert start("demo", documents, "--output", "other").end()[0] == 0, "another folder is another key"
    first.signal(signal.SIGCONT)
    assert first.end()[0] == 0
    assert [row["status"] for row in rows(tmp_path / "runs.db")] == ["completed", "completed"]
    assert not (tmp_path / "second").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["missing"], "aioruns: missing does not exist; name a folder that holds documents"),
        (["empty"], "empty holds no documents; name a folder with .md, .rst, .txt or .py files in it"),
        (["documents/guide.md"], "guide.md is a file; name the folder that holds the documents"),
        (["documents", "--output", "documents/guide.md"], "guide.md is a file; name a folder for the output"),
        (["documents", "--store", "redis://host/0"], "aioruns: no store speaks redis://"),
    ],
)
def test_what_cannot_be_is_refused_before_anything_is_written(
    start: Start, tmp_path: Path, documents: Path, arguments: list[str], message: str
) -> None:
    (tmp_path / "empty").mkdir()
    code, output, errors = start("demo", *arguments).end()
    assert (code, output) == (2, "")
    assert message in errors
    assert errors.count("\n") == 1
    assert not (tmp_path / "runs.db").exists()


def test_documents_without_text_fail_the_run(start: Start, tmp_path: Path) -> None:
    (tmp_path / "code").mkdir()
    (tmp_path / "code" / "empty.py").write_text("x = 1\n")
    code, output, errors = start("demo", "code").end()
    assert (code, errors) == (1, "")
    assert "run 1 failed after " in output
    assert "name a folder with documents" in output
    assert [row["status"] for row in rows(tmp_path / "runs.db")] == ["failed"]


def test_a_store_that_cannot_be_used_has_its_own_exit_code(start: Start, tmp_path: Path, documents: Path) -> None:
    with contextlib.closing(sqlite3.connect(tmp_path / "locked.db", isolation_level=None)) as connection:
        connection.execute("BEGIN EXCLUSIVE")
        code, output, errors = start("demo", documents, "--store", "sqlite:///locked.db?busy_timeout=0.1").end()
    assert (code, output) == (5, "")
    assert errors.startswith("aioruns: ")
    assert errors.count("\n") == 1


def test_a_reader_that_goes_away_ends_the_demo_quietly(start: Start, tmp_path: Path, many_documents: Path) -> None:
    demo = start("demo", many_documents, "--output", "out")
    demo.wait_for("run 1 builds")
    assert demo.process.stdout is not None
    demo.process.stdout.close()
    assert demo.process.wait(timeout=TIMEOUT) == 1
    assert demo.process.stderr is not None
    assert demo.process.stderr.read() == b""
    (row,) = rows(tmp_path / "runs.db")
    assert (row["status"], row["cancel_reason"]) == ("cancelled", "nobody reads the output any more")


def test_without_rich_the_extra_is_named_and_nothing_is_written(start: Start, tmp_path: Path, documents: Path) -> None:
    (tmp_path / "hidden" / "rich").mkdir(parents=True)
    (tmp_path / "hidden" / "rich" / "__init__.py").write_text("raise ImportError('rich is not installed')\n")
    path = os.pathsep.join(filter(None, [str(tmp_path / "hidden"), os.environ.get("PYTHONPATH")]))
    code, output, errors = start("demo", documents, PYTHONPATH=path).end()
    assert (code, output) == (2, "")
    assert errors == "aioruns: this command needs rich: pip install 'aioruns[cli]'\n"
    assert not (tmp_path / "runs.db").exists()


def test_help_and_version_need_no_command(start: Start) -> None:
    code, output, _ = start("--help").end()
    assert code == 0
    assert "demo" in output
    code, output, _ = start("demo", "--help").end()
    assert code == 0
    assert all(option in output for option in ("FOLDER", "--store", "--output", "--no-browser"))
    code, output, _ = start("--version").end()
    assert (code, output) == (0, f"aioruns {importlib.metadata.version('aioruns')}\n")
    code, _, errors = start().end()
    assert code == 2
    assert "COMMAND" in errors


class Lines:
    """A display that keeps what it is shown."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        pass

    def line(self, text: str, *, style: str = "") -> None:
        self.lines.append(text)

    def progress(self, step: str, current: float, total: float | None, message: str) -> None:
        pass


@pytest.mark.asyncio
async def test_a_second_ctrl_c_says_that_the_run_is_still_being_cancelled(
    manager: RunManager, monkeypatch: pytest.MonkeyPatch
) -> None:
    go_on = asyncio.Event()

    @job
    async def reluctant() -> None:
        """End in its own time."""
        while not go_on.is_set():
            try:
                await go_on.wait()
            except asyncio.CancelledError:
                assert current_run().cancel_requested
        current_run().raise_if_cancelled()

    handle = await manager.start_run(reluctant())
    display: Any = Lines()
    with _demo._cancelled_by_interrupt(handle, display):  # pyright: ignore[reportPrivateUsage]
        os.kill(os.getpid(), signal.SIGINT)
        await eventually(lambda: display.lines == ["cancelling…"])
        os.kill(os.getpid(), signal.SIGINT)
        await eventually(lambda: display.lines[1:] == ["still cancelling: the run has not ended yet"])
        go_on.set()
        run = await handle.wait()
    assert (run.status, run.cancel_reason) == (RunStatus.CANCELLED, "Ctrl-C")
