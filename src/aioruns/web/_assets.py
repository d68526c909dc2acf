"""The dashboard's files, read from the package once and looked up in a table, so that no path leads out of it."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import PurePosixPath
from typing import Final

from starlette.requests import Request
from starlette.responses import Response

__all__ = ["Asset", "load_assets"]

# Not `mimetypes`: it asks the machine, and on some machines JavaScript is plain text, which browsers do not execute.
_MEDIA_TYPES: Final[Mapping[str, str]] = {
    ".css": "text/css; charset=utf-8",
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".md": "text/plain; charset=utf-8",
    ".png": "image/png",
    ".svg": "image/svg+xml; charset=utf-8",
    ".txt": "text/plain; charset=utf-8",
}


@dataclass(frozen=True, slots=True)
class Asset:
    """One file of the dashboard."""

    body: bytes
    media_type: str
    etag: str

    def answer(self, request: Request) -> Response:
        """Answer with the file, or 304 if the browser has it; browsers ask each time, so an upgrade shows at once."""
        headers = {"ETag": self.etag, "Cache-Control": "no-cache"}
        known = {tag.strip().removeprefix("W/") for tag in request.headers.get("if-none-match", "").split(",")}
        if known & {self.etag, "*"}:
            return Response(status_code=304, headers=headers)
        return Response(self.body, headers=headers, media_type=self.media_type)

    def answer_as_page(self, status: int = 200) -> Response:
        """Answer with the file as a page, which the browser must not keep: its address may contain the token."""
        return Response(self.body, status, {"Cache-Control": "no-store"}, self.media_type)


def load_assets() -> Mapping[str, Asset]:
    """Read all files of the dashboard; return them by their path within its folder."""
    return {path: _load(path, file) for path, file in _walk(files("aioruns.web") / "dashboard", PurePosixPath())}


def _walk(folder: Traversable, at: PurePosixPath) -> Iterator[tuple[str, Traversable]]:
    for entry in folder.iterdir():
        if entry.is_dir():
            yield from _walk(entry, at / entry.name)
        else:
            yield str(at / entry.name), entry


def _load(path: str, file: Traversable) -> Asset:
    body = file.read_bytes()
    media_type = _MEDIA_TYPES.get(PurePosixPath(path).suffix, "application/octet-stream")
    return Asset(body, media_type, f'"{hashlib.sha256(body).hexdigest()[:32]}"')
