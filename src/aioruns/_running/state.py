"""What the roles know of their open manager: its id, and how far its closing has come."""

from __future__ import annotations

import asyncio
import uuid

__all__ = ["ManagerState"]


class ManagerState:
    """What all roles of one open manager share.

    Attributes:
        manager_id: The id, never used again, by which the manager owns its runs.
        keeper: The task that serves the manager from open to close. Only the teardown of the event loop cancels it.
        closing: Whether draining is over, so that functions are asked to end.
        closed: Whether the manager has stopped beginning runs and storing.
        left_behind: Whether functions outlast the manager, which keeps its lease until they end.
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
        # A teardown cancels every task before any of them goes on, so even the first to ask gets the right answer.
        return self.closing or (self.keeper is not None and self.keeper.cancelling() > 0)
