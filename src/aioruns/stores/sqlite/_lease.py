"""Proof of life: a manager holds a file lock beside the database; the kernel drops it however its process dies."""

from __future__ import annotations

import contextlib
import glob
import os
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from aioruns.errors import ConfigurationError

if TYPE_CHECKING:
    from filelock import FileLock

__all__ = ["Lease", "remove_strays"]

PATIENCE: Final = 1.0
"""Seconds to wait for a new lock: who looks for strays may hold it for a moment."""


class Lease:
    """The lock of one manager. It does short blocking file operations: make it and use it off the event loop.

    Args:
        database: Absolute path of the database file.
        manager_id: The manager whose lock it is.
    """

    def __init__(self, database: str, manager_id: str) -> None:
        self.path = f"{database}.{manager_id}.lock"
        self._lock = _new_lock(self.path)
        self._inode = 0
        self._over: Callable[[], None] | None = None  # how it was let go, for good

    def acquire(self) -> None:
        """Take the lock of a fresh manager, and prove that the file system keeps it.

        Raises:
            ConfigurationError: A second descriptor got the lock too: this file system's locks do not work.
        """
        if self._lock.is_locked:  # by a call whose caller was cancelled
            return
        try:
            self._lock.acquire(timeout=PATIENCE)
        except OSError as error:
            raise ConfigurationError(
                f"the file {self.path!r} cannot be locked: {error};"
                " put the database into a folder on a local disk that may be written to"
            ) from error
        probe = _new_lock(self.path)
        try:
            probe.acquire()
        except TimeoutError:
            self._inode = os.stat(self.path).st_ino
            self._stay_over()
            return
        probe.release()
        self.release()
        raise ConfigurationError(
            f"file locks do not work beside {self.path!r}, so a dead process could not be told from a live one;"
            " put the database on a local disk"
        )

    def is_lost(self) -> bool:
        """Tell whether somebody has deleted the lock's file; a microsecond, not worth a thread."""
        try:
            return not self._lock.is_locked or os.stat(self.path).st_ino != self._inode
        except OSError:
            return True

    def renew(self) -> bool:
        """Take the lock again if it is lost, and tell whether that was so.

        Raises:
            ConfigurationError: It cannot be taken now.
        """
        if self._over is not None:  # meanwhile, on another thread: it was us who deleted the file
            return False
        if not self.is_lost():
            return False
        self._lock.release(force=True)
        self.acquire()
        return self._over is None

    def try_acquire(self) -> bool:
        """Take the lock of another manager; this succeeds only if its process certainly holds it no longer."""
        try:
            self._lock.acquire()
        except OSError:  # it is held, or not ours to look at
            return False
        self._stay_over()
        return self._over is None

    def _stay_over(self) -> None:
        """Let go again, if that happened on another thread while the lock was being taken: nobody else would."""
        if self._over is not None:
            self._over()

    def release(self) -> None:
        """Let go and remove the file; the manager's row is gone, or never was."""
        self._over = self.release
        # While the lock is held: afterwards the file might be another's. If it stays, in a folder that has become
        # read-only, whoever opens next removes it.
        with contextlib.suppress(OSError):
            os.unlink(self.path)
        self._lock.release(force=True)

    def abandon(self) -> None:
        """Let go and leave the file: the manager's row stays, for a rescuer to find."""
        self._over = self.abandon
        self._lock.release(force=True)


def remove_strays(database: str) -> None:
    """Remove the locks that nobody holds: of processes that died while they opened or closed; blocking file operations.

    A manager whose row is still there loses nothing by it: whoever rescues it makes the file anew.
    """
    start, end = f"{database}.", ".lock"
    for path in glob.glob(f"{glob.escape(start)}*{end}"):
        lease = Lease(database, path[len(start) : -len(end)])
        if lease.try_acquire():
            lease.release()


def _new_lock(path: str) -> FileLock:
    from filelock import FileLock  # slow to import, and needed when a manager opens

    # Not thread-local: acquired on a worker thread, released on any. Never soft: a soft lock outlives its process.
    return FileLock(path, timeout=0, thread_local=False, fallback_to_soft=False)
