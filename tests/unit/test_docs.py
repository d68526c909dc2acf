"""The documentation says what the code does: diagrams, names, limits, links, and the programs of the tutorial."""

from __future__ import annotations

import importlib
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

import aioruns
from aioruns import RunStatus
from aioruns._values.status import TERMINAL, TRANSITIONS

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
PACKAGE = ROOT / "src" / "aioruns"
PAGES = [
    ROOT / "README.md",
    ROOT / "CHANGELOG.md",
    *sorted(path for path in DOCS.rglob("*.md") if "_build" not in path.parts),
]


def read(path: str) -> str:
    return (ROOT / path).read_text(encoding="utf-8")


def diagram() -> str:
    """Draw the table of transitions."""
    arrows = [("[*]", RunStatus.PENDING), ("[*]", RunStatus.RUNNING)]
    arrows += [(before, after) for before in TRANSITIONS for after in RunStatus if after in TRANSITIONS[before]]
    arrows += [(status, "[*]") for status in RunStatus if status in TERMINAL]
    return "stateDiagram-v2\n" + "".join(f"    {before} --> {after}\n" for before, after in arrows)


def test_drawn_state_machine_is_the_table() -> None:
    (drawn,) = re.findall(
        r"```mermaid\n(stateDiagram-v2\n.*?)```", read("docs/architecture/state-machine.md"), re.DOTALL
    )
    assert drawn == diagram()


def test_every_status_is_explained() -> None:
    rows = re.findall(r"^\| `(\w+)` \| (yes|no) \|", read("docs/architecture/state-machine.md"), re.MULTILINE)
    assert rows == [(status.value, "yes" if status.active else "no") for status in RunStatus]


def modules() -> list[str]:
    return sorted(path.relative_to(PACKAGE).as_posix() for path in PACKAGE.rglob("*.py"))


def test_overview_names_every_module_and_no_other() -> None:
    named = re.findall(r"`([\w/]+\.py)`", read("docs/architecture/overview.md"))
    assert sorted(named) == modules()


def test_every_public_name_is_in_the_reference() -> None:
    entries = re.compile(r"^\.\. auto\w+:: (?:aioruns\.)?(\w+)", re.MULTILINE)
    described = set(entries.findall(read("docs/reference/aioruns.md")))
    for module_name in re.findall(
        r"^\.\. automodule:: (\S+)\n   :members:", read("docs/reference/errors.md"), re.MULTILINE
    ):
        described.update(importlib.import_module(module_name).__all__)
    assert sorted(set(aioruns.__all__) - described) == []


def requirements() -> Iterator[str]:
    """Give every requirement in pyproject.toml, of whatever kind."""
    project = tomllib.loads(read("pyproject.toml"))
    yield from project["build-system"]["requires"]
    yield from project["project"]["dependencies"]
    for extra in project["project"]["optional-dependencies"].values():
        yield from extra
    for group in project["dependency-groups"].values():
        yield from (entry for entry in group if isinstance(entry, str))


def test_every_dependency_has_its_reason() -> None:
    taken, _, _ = read("docs/architecture/dependencies.md").partition("## Not taken")
    explained = set(re.findall(r"^\|(?: `\w+` \|)? ([\w-]+) \|", taken, re.MULTILINE))
    names = {re.split(r"[^\w.-]", requirement)[0] for requirement in requirements()} - {"aioruns"}
    assert sorted(names - explained) == []


LIMITS = {
    "arguments of a run, as JSON": ("_values.json", "MAX_VALUE"),
    "result of a run, as JSON": ("_values.json", "MAX_VALUE"),
    "data of an emitted event, as JSON": ("_jobs.lines", "MAX_DATA"),
    "log message": ("_jobs.lines", "MAX_LINE"),
    "log field without a JSON form": ("_jobs.lines", "MAX_FIELD"),
    "fields of a log line, with the rest of the line": ("_jobs.lines", "MAX_DATA"),
    "stored error": ("_values.redaction", "MAX_ERROR"),
    "stored traceback": ("_values.redaction", "MAX_TRACEBACK"),
    "reason of a cancel": ("_running.cancel", "MAX_REASON"),
    "key, tag, job name, `idempotency_key`, `triggered_by`": ("_values.checks", "MAX_NAME"),
    "step and message of progress": ("_values.checks", "MAX_NAME"),
    "unstored events of one run": ("_running.outbox", "MAX_EVENTS"),
    "unstored events of one run, in size": ("_running.outbox", "MAX_BYTES"),
    "unstored events of all runs of a manager, in size": ("_running.outbox", "MAX_TOTAL_BYTES"),
    "runs or events read at once": ("_values.checks", "MAX_PAGE"),
    "recent events kept for the subscribers of a watched run": ("_running.feed", "RECENT"),
    "the same, in size": ("_running.feed", "RECENT_CHARACTERS"),
    "runs deleted in one transaction of `prune`": ("_running.prune", "BATCH"),
}


def test_limits_are_those_of_the_code() -> None:
    rows = re.findall(
        r"^\| ([^|]+) \| ([\d,]+)(?: (KiB|MiB))?\b[^|]*\|", read("docs/how-to/operations.md"), re.MULTILINE
    )
    units = {"": 1, "KiB": 1024, "MiB": 1024**2}
    stated = {what: int(number.replace(",", "")) * units[unit] for what, number, unit in rows if what in LIMITS}
    code = {
        what: getattr(importlib.import_module(f"aioruns.{module}"), name) for what, (module, name) in LIMITS.items()
    }
    assert stated == code


def links(page: Path) -> Iterator[str]:
    text = re.sub(r"```.*?```|`[^`\n]*`", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if not re.match(r"[a-z]+:", target):
            yield target


def anchors(page: Path) -> set[str]:
    """Give the anchors that GitHub and Sphinx make of a page's headings."""
    text = re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    headings = re.findall(r"^#{1,6} (.+)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_relative_links_resolve(page: Path) -> None:
    broken: list[str] = []
    for target in links(page):
        path, _, anchor = target.partition("#")
        file = (page.parent / path).resolve() if path else page
        if not file.is_relative_to(ROOT) or not file.exists() or (anchor and anchor not in anchors(file)):
            broken.append(target)
    assert broken == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_included_files_exist(page: Path) -> None:
    included = re.findall(r"^```\{(?:literal)?include\} (\S+)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    assert [path for path in included if not (page.parent / path).is_file()] == []


def programs() -> Iterator[tuple[str, str, str | None]]:
    """Give the programs of the tutorial: name, source, and what they print where the page says it."""
    pattern = r"<!-- example: ([\w-]+) -->\n```python\n(.*?)```\n(.*?)(?=<!-- example|\Z)"
    for name, source, rest in re.findall(pattern, read("docs/tutorial.md"), re.DOTALL):
        output = re.match(r"[^#`]*?```text\n(.*?)```", rest, re.DOTALL)
        yield name, source, output[1] if output else None


def test_programs_of_the_tutorial_print_what_it_says(tmp_path: Path) -> None:
    names: list[str] = []
    for name, source, output in programs():
        names.append(name)
        (tmp_path / f"{name}.py").write_text(source, encoding="utf-8")
        run = subprocess.run(
            [sys.executable, f"{name}.py"], cwd=tmp_path, capture_output=True, text=True, check=False, timeout=30
        )
        assert run.returncode == (1 if "os._exit(1)" in source else 0), run.stderr
        assert output is None or run.stdout == output
    assert names == ["first", "watch", "cancel", "join", "killed", "after", "glossary"]
