"""The pictures of the documentation: ``pytest tests/browser --screenshots`` writes them into docs/screenshots."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from playwright.sync_api import Page
from tests.browser.gallery import VIEWS, ready
from tests.browser.processes import Server

PICTURES = {"list": "list", "run-live": "run", "run-failed": "failed", "start": "start", "overview": "overview"}
"""Views, and the names of their pictures."""
SIZE = 150_000
"""Bytes that a picture may have."""


@pytest.fixture
def server(gallery: Server) -> Server:
    """The server with something of everything."""
    return gallery


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("view", PICTURES)
def test_a_picture_is_taken(
    visit: Callable[..., Page], view: str, theme: str, tmp_path: Path, pytestconfig: pytest.Config
) -> None:
    folder: Path = pytestconfig.getoption("--screenshots") or tmp_path
    page = visit(VIEWS[view], color_scheme=theme, reduced_motion="reduce", viewport={"width": 1280, "height": 800})
    ready(page, view)
    folder.mkdir(parents=True, exist_ok=True)
    picture = page.screenshot(path=folder / f"{PICTURES[view]}-{theme}.png", animations="disabled", caret="hide")
    assert len(picture) < SIZE
