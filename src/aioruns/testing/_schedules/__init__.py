"""Seeded schedules: run a program in an order drawn from a seed, which can be replayed."""

from aioruns.testing._schedules._loop import ShuffledEventLoop
from aioruns.testing._schedules._running import Scenario, run_schedule, run_schedules
from aioruns.testing._schedules._threadless import threadless
from aioruns.testing._schedules._waiting import Deadlock

__all__ = ["Deadlock", "Scenario", "ShuffledEventLoop", "run_schedule", "run_schedules", "threadless"]
