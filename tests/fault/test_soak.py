"""Whenever processes that share a file are killed, frozen or closed, nothing is lost, doubled, stuck or untrue.

``tests/fault/soak.py`` does it, and can be run by hand.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.proof
@pytest.mark.timeout(3600)  # for the soak; one that hangs is ended below
@pytest.mark.parametrize("workers", [3, 5])
def test_R3_X2_whenever_processes_are_killed_nothing_is_lost_doubled_or_stuck(
    tmp_path: Path, scale: Callable[..., int], tally: Callable[..., None], workers: int
) -> None:
    kills, seed = scale(quick=5, full=50, soak=1000), random.randrange(2**32)
    options = (f"--kills={kills}", f"--workers={workers}", f"--seed={seed}")
    command = [sys.executable, "-m", "tests.fault.soak", str(tmp_path / "soak"), *options]
    # A session of its own, so that nothing of it is left whatever happens here.
    with subprocess.Popen(command, cwd=ROOT, start_new_session=True, stdout=subprocess.PIPE, text=True) as driver:
        try:
            said, _ = driver.communicate(timeout=300 + 10 * kills)
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(driver.pid, signal.SIGKILL)
    assert driver.returncode == 0, f"with {options}: {said}"
    for what, number in json.loads(said)["counts"].items():
        tally(f"soak: {what}", number)
