"""The dashboard's files: complete, of known types, sent once, and nothing beside them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from importlib.resources import files

import pytest
from starlette.requests import Request

from aioruns.web._assets import Asset, load_assets


@pytest.fixture(scope="module")
def assets() -> Mapping[str, Asset]:
    return load_assets()


def request(**headers: str) -> Request:
    raw = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
    return Request({"type": "http", "method": "GET", "headers": raw})


def test_every_file_of_the_folder_is_there_as_it_is(assets: Mapping[str, Asset]) -> None:
    folder = files("aioruns.web") / "dashboard"
    assert {"index.html", "login.html", "style.css", "app.js"} <= assets.keys()
    for entry in folder.iterdir():
        assert assets[entry.name].body == entry.read_bytes()


def test_every_file_has_a_media_type(assets: Mapping[str, Asset]) -> None:
    assert [path for path, asset in assets.items() if asset.media_type == "application/octet-stream"] == []
    assert assets["app.js"].media_type == "text/javascript; charset=utf-8", "others are not executed"


def test_pages_name_only_files_that_are_there(assets: Mapping[str, Asset]) -> None:
    for page in ("index.html", "login.html"):
        named = re.findall(r'(?:src|href)="(?!data:|#)([^"]+)"', assets[page].body.decode())
        assert named
        assert [name for name in named if name.removeprefix("static/") not in assets] == []


def test_pages_fit_a_strict_content_security_policy(assets: Mapping[str, Asset]) -> None:
    for path, asset in assets.items():
        if path.endswith(".html"):
            text = asset.body.decode()
            assert not re.search(r"<script(?![^>]*\bsrc=)", text), "inline script"
            assert not re.search(r"<style|\sstyle=|\son\w+=|javascript:", text), "inline style or handler"


def test_a_file_that_the_browser_has_is_not_sent_again(assets: Mapping[str, Asset]) -> None:
    asset = assets["style.css"]
    first = asset.answer(request())
    assert (first.status_code, first.body) == (200, asset.body)
    assert first.headers["cache-control"] == "no-cache"
    for known in (asset.etag, f'"other", W/{asset.etag}', "*"):
        again = asset.answer(request(if_none_match=known))
        assert (again.status_code, again.body, again.headers["etag"]) == (304, b"", asset.etag)
    assert asset.answer(request(if_none_match='"other"')).status_code == 200


def test_files_that_differ_have_different_tags(assets: Mapping[str, Asset]) -> None:
    assert len({asset.etag for asset in assets.values()}) == len({asset.body for asset in assets.values()})


def test_no_script_takes_the_focus_from_a_control(assets: Mapping[str, Asset]) -> None:
    """`focus.js` disables controls, and `fill` of `dom.js` replaces them: both leave the keyboard where it is."""
    for path, asset in assets.items():
        if path.endswith(".js"):
            text = asset.body.decode()
            assert not re.search(r"\.disabled\s*=[^=]|\bdisabled:", text), path
            assert path == "dom.js" or not re.search(r"\.replaceChildren\b", text), path
