"""The open manager as its roles know it: who it is, and how far it is from closing."""

from __future__ import annotations

import asyncio
import uuid

__all__ = ["ManagerState"]


class ManagerState:
    """What all roles of one open manager share.

    Attributes:
        manager_id: A fresh id, never used again; it owns the runs.
        keeper: The task that serves the manager from open to close. Only the teardown of the event loop cancels it.
        closing: Draining is over; functions are being asked to end.
        closed: Nothing begins and nothing is stored any more.
        left_behind: Functions that did not end outlast the manager and keep its lease.
        interest: Set when there is something to watch the store for: a run here, a subscriber, a doubtful insert.
    """

    def __init__(self) -> None:
        self.manager_id: str = uuid.uuid4().hex
        self.keeper: asyncio.Task[None] | None = None
        self.closing: bool = False
        self.closed: bool = False
        self.left_behind: bool = False
        self.interest: asyncio.Event = asyncio.Event()

    @property
    def stopping(self) -> bool:
        """Whether the manager is past draining, or the event loop is being torn down."""
        # A teardown cancels every task before any of them goes on, so whoever asks first gets the right answer.
        return self.closing or (self.keeper is not None and self.keeper.cancelling() > 0)
