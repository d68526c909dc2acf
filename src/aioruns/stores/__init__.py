"""Stores, and how one is found from a path or a URL."""

from __future__ import annotations

import os
from pathlib import Path
from urllib.parse import parse_qsl, unquote, urlsplit

from aioruns.abc import Store
from aioruns.errors import ConfigurationError
from aioruns.stores.sqlite import SQLiteStore

__all__ = ["SQLiteStore", "open_store"]


def open_store(where: str | os.PathLike[str] | Store) -> Store:
    """Make the store that a path or a URL names; nothing is opened or created yet.

    Args:
        where: A path of an SQLite file, ``:memory:``, ``sqlite:///relative.db``, ``sqlite:////absolute.db``, with
            ``?synchronous=normal`` or ``?busy_timeout=SECONDS``; or a store, which is returned as it is.

    Raises:
        ConfigurationError: It names no store that there is.
    """
    if isinstance(where, (str, os.PathLike)):
        text = os.fspath(where)
        return _from_url(text) if "://" in text else SQLiteStore(text)
    if isinstance(where, Store) and not isinstance(where, type):  # pyright: ignore[reportUnnecessaryIsInstance]
        return where
    raise ConfigurationError(f"a store is a path, a URL or a Store, not {type(where).__name__}")


def _from_url(url: str) -> Store:
    try:
        parts = urlsplit(url)
    except ValueError as error:
        raise ConfigurationError(f"the URL of the store cannot be read: {error}") from None
    if parts.scheme != "sqlite":
        raise ConfigurationError(f"no store speaks {parts.scheme}://; use a path, or sqlite:///path/to/runs.db")
    if parts.netloc:
        raise ConfigurationError(
            f"write sqlite:///{parts.netloc}{parts.path} with three slashes: an SQLite file has no host"
        )
    if parts.fragment:
        raise ConfigurationError(f"write %23 for the # before {parts.fragment!r} in the URL of the store")
    options = dict(parse_qsl(parts.query, keep_blank_values=True))
    synchronous = options.pop("synchronous", "full")
    busy_timeout = options.pop("busy_timeout", "5")
    if options:
        raise ConfigurationError(
            f"unknown in the URL of the store: {', '.join(options)}; known: synchronous, busy_timeout"
        )
    try:
        seconds = float(busy_timeout)
    except ValueError:
        raise ConfigurationError(
            f"busy_timeout={busy_timeout} in the URL of the store is no number of seconds"
        ) from None
    path = unquote(parts.path).removeprefix("/")
    return SQLiteStore(
        Path(path) if path and path != ":memory:" else ":memory:", synchronous=synchronous, busy_timeout=seconds
    )
