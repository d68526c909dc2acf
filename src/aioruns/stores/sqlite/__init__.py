"""The SQLite store: one file, all processes of one host."""

from aioruns.stores.sqlite.store import SQLiteStore

__all__ = ["SQLiteStore"]
