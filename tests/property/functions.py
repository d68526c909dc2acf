"""Jobs whose functions do what they are told, one order at a time, and what they are expected to have said."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import pytest
from tests.property.model import Said, is_storable

from aioruns import ConfigurationError, Job, RunContext, current_run, job

__all__ = ["Cast", "Role", "Utterance"]


@dataclass(frozen=True)
class Utterance:
    """Something to be said."""

    kind: Literal["log", "note", "progress"]
    value: Any
    step: str | None = None
    flush: bool = False

    def said(self, number: int) -> Said | None:
        """Give the event that comes of it; None if it cannot be stored. ``number`` makes progress distinguishable."""
        match self.kind:
            case "log":
                return "log", {"level": "info", "message": _shown(self.value)}
            case "note":
                return ("note", {"value": self.value}) if is_storable(self.value) else None
            case "progress":
                return "progress", {"current": number, "total": None, "step": self.step, "message": _shown(self.value)}

    async def say(self, ctx: RunContext, number: int) -> None:
        match self.kind:
            case "log":
                ctx.log("info", self.value)
            case "note" if is_storable(self.value):
                ctx.emit("note", {"value": self.value})
            case "note":
                with pytest.raises(ConfigurationError):
                    ctx.emit("note", {"value": self.value})
            case "progress":
                ctx.set_progress(number, step=self.step, message=self.value)
        if self.flush:
            await ctx.flush()


def _shown(value: Any) -> str:
    return str(value).encode(errors="backslashreplace").decode()


class Role:
    """The function of one run, as it is told to behave."""

    def __init__(self) -> None:
        self.entered = 0
        self.done = 0
        self._told = 0
        self._orders: asyncio.Queue[Callable[[RunContext], Any]] = asyncio.Queue()

    def tell(self, order: Callable[[RunContext], Any]) -> None:
        """Let it do something next: what it returns is awaited; what it raises, or returns at last, leaves it."""
        self._told += 1
        self._orders.put_nowait(order)

    @property
    def busy(self) -> bool:
        """Whether it has not done yet what it was told."""
        return self.done < self._told

    def say(self, utterance: Utterance, number: int) -> None:
        self.tell(lambda ctx: utterance.say(ctx, number))

    def end(self, value: Any) -> None:
        """Let it return a value, or raise an exception."""

        async def leave(_: RunContext) -> None:
            raise value if isinstance(value, BaseException) else _Returned(value)

        self.tell(leave)

    async def play(self, *, stubborn: bool) -> Any:
        self.entered += 1
        ctx = current_run()
        while True:
            try:
                order = await self._orders.get()
                self.done += 1
                await order(ctx)
            except _Returned as returned:
                return returned.value
            except asyncio.CancelledError:
                if not stubborn:
                    raise


class _Returned(Exception):
    def __init__(self, value: Any) -> None:
        self.value = value


class Cast:
    """Jobs by name, and the roles of their runs by the number that each run has for its argument."""

    def __init__(self) -> None:
        self.roles: defaultdict[int, Role] = defaultdict(Role)
        self.jobs: dict[str, Job[[int], Any]] = {
            "obedient": job(name="obedient")(self._play_obediently),
            "stubborn": job(name="stubborn")(self._play_stubbornly),
        }

    async def _play_obediently(self, part: int) -> Any:
        return await self.roles[part].play(stubborn=False)

    async def _play_stubbornly(self, part: int) -> Any:
        return await self.roles[part].play(stubborn=True)
