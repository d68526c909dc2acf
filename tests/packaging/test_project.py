"""The project's own promises: what it installs, what `import aioruns` costs, what it says and where it lies."""

from __future__ import annotations

import importlib
import importlib.metadata
import inspect
import json
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
PUBLIC_MODULES = ["aioruns", "aioruns.abc", "aioruns.errors", "aioruns.stores", "aioruns.testing"]
TOP_LEVEL = {
    ".ci",
    ".gitignore",
    "CHANGELOG.md",
    "LICENSE",
    "README.md",
    "docs",
    "noxfile.py",
    "pyproject.toml",
    "src",
    "tests",
}


@pytest.fixture(scope="module")
def project() -> dict[str, Any]:
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def distribution_name(requirement: str) -> str:
    match = re.match(r"[A-Za-z0-9._-]+", requirement)
    assert match, requirement
    return match.group()


def test_installed_version_is_the_one_in_pyproject(project: dict[str, Any]) -> None:
    assert importlib.metadata.version("aioruns") == project["version"]


def test_version_has_a_place_in_the_changelog(project: dict[str, Any]) -> None:
    changelog = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    headings = re.findall(r"^## \[(.+?)\]", changelog, flags=re.MULTILINE)
    assert headings[0] == "Unreleased"
    assert headings[1:2] in ([], [project["version"]])


def test_extra_all_is_every_other_extra(project: dict[str, Any]) -> None:
    extras = project["optional-dependencies"]
    (everything,) = extras["all"]
    assert everything == f"aioruns[{','.join(sorted(extras.keys() - {'all'}))}]"


def test_import_brings_in_no_extra_no_example_no_command_line_and_no_database(project: dict[str, Any]) -> None:
    program = "import sys, json, aioruns; print(json.dumps(sorted(sys.modules)))"
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=120)
    imported = set(json.loads(run.stdout))
    extras = {distribution_name(line) for lines in project["optional-dependencies"].values() for line in lines}
    outside = (extras - {"aioruns"}) | {"fastapi", "starlette", "pydantic", "uvicorn", "pytest", "hypothesis"}
    assert not imported & (outside | {"aioruns.cli", "aioruns.glossary", "aioruns.testing"})
    assert not imported & {"aioruns.stores", "aiosqlite", "sqlite3"}


@pytest.mark.skipif(not (ROOT / ".git").exists() or not shutil.which("git"), reason="not a git checkout")
def test_top_level_of_the_repository_holds_nothing_unexpected() -> None:
    listing = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True)
    entries = {path.split("/")[0] for path in listing.stdout.split("\0") if path}
    assert sorted(entries - TOP_LEVEL) == []


def public_objects() -> Iterator[tuple[str, Any]]:
    """Give what users can name, with its full name: classes, functions, and the public members of the classes."""
    for module_name in PUBLIC_MODULES:
        module = importlib.import_module(module_name)
        for name in module.__all__:
            thing = getattr(module, name)
            if inspect.isclass(thing) or inspect.isfunction(thing):
                yield f"{module_name}.{name}", thing
            for member_name, member in vars(thing).items() if inspect.isclass(thing) else ():
                plain = getattr(member, "__func__", member)
                if not member_name.startswith("_") and (inspect.isfunction(plain) or isinstance(plain, property)):
                    yield f"{module_name}.{name}.{member_name}", plain


# ruff asks for docstrings too, but takes everything in a module whose name starts with an underscore for private.
def test_every_public_name_has_a_docstring() -> None:
    names = dict(public_objects())
    assert "aioruns.RunManager.start_run" in names
    assert sorted(name for name, thing in names.items() if not inspect.getdoc(thing)) == []
