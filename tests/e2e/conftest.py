"""Commands as processes, and documents for the demo to read."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.e2e.commands import Command, Start

GUIDE = """
# Guide

A binary heap is a tree that is kept in an array of numbers.
The binary heap is fast. Use a binary heap for queues of events.
"""
EVENTS = "An event queue is a list of events that wait for their time. The event queue is a binary heap.\n"
LEFT_OUT = ("AIORUNS_STORE", "AIORUNS_TOKEN", "BROWSER", "CI", "DISPLAY", "FORCE_COLOR", "NO_COLOR", "WAYLAND_DISPLAY")


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Start commands; those that still run behind the test are killed."""
    started: list[Command] = []

    def start_one(*arguments: str | Path, terminal: bool = False, **environment: str) -> Command:
        inherited = {name: value for name, value in os.environ.items() if name not in LEFT_OUT}
        command = Command(
            [*map(str, arguments)], tmp_path, inherited | {"PYTHONUTF8": "1"} | environment, terminal=terminal
        )
        started.append(command)
        return command

    yield start_one
    for command in started:
        if command.process.poll() is None:
            command.process.kill()
        command.process.communicate()


@pytest.fixture
def documents(tmp_path: Path) -> Path:
    folder = tmp_path / "documents"
    folder.mkdir()
    (folder / "guide.md").write_text(GUIDE)
    (folder / "events.rst").write_text(EVENTS)
    return folder


@pytest.fixture
def many_documents(tmp_path: Path) -> Path:
    """Documents that take a while; how long does not matter, as the tests stop the process while they look."""
    folder = tmp_path / "many"
    folder.mkdir()
    for number in range(600):
        (folder / f"{number}.md").write_text(GUIDE + EVENTS)
    return folder
