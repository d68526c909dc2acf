"""``aioruns`` as its users start it: processes whose output can be waited for while they run, also on a terminal."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

__all__ = ["TIMEOUT", "Command", "Start"]

TIMEOUT = 120
"""Seconds after which a process is taken for hung; a demo on the test's documents takes one or two."""

ON_A_TERMINAL = "import pty, sys; sys.exit(pty.spawn(sys.argv[1:]) >> 8)"


class Command:
    """One process; its output can be waited for while it runs."""

    def __init__(
        self, arguments: Sequence[str], folder: Path, environment: dict[str, str], *, terminal: bool = False
    ) -> None:
        program = [sys.executable, "-m", "aioruns", *arguments]
        self.process = subprocess.Popen(
            [sys.executable, "-c", ON_A_TERMINAL, *program] if terminal else program,
            cwd=folder,
            env=environment,
            stdin=subprocess.PIPE if terminal else subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        self._seen = b""

    def wait_for(self, text: str) -> str:
        """Read the output until the text and the rest of its line have come; return that line."""
        assert self.process.stdout is not None
        deadline = time.monotonic() + TIMEOUT
        while not (lines := [line for line in self._seen.splitlines(keepends=True) if text.encode() in line]) or (
            not lines[0].endswith(b"\n")
        ):
            ready, _, _ = select.select([self.process.stdout], [], [], max(deadline - time.monotonic(), 0))
            chunk = os.read(self.process.stdout.fileno(), 65536) if ready else b""
            assert chunk, f"{text!r} did not come; what came is {self._seen.decode()!r}"
            self._seen += chunk
        return lines[0].decode().rstrip()

    def signal(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    def press_ctrl_c(self) -> None:
        """Do on the terminal what a person does."""
        assert self.process.stdin is not None
        self.process.stdin.write(b"\x03")
        self.process.stdin.flush()

    def stop(self) -> None:
        """Make the process stand still."""
        self.signal(signal.SIGSTOP)
        # Without WNOWAIT, Popen would miss the process's end.
        os.waitid(os.P_PID, self.process.pid, os.WSTOPPED | os.WNOWAIT)

    def end(self) -> tuple[int, str, str]:
        """Wait until it has ended; give its exit code and all it wrote."""
        rest, errors = self.process.communicate(timeout=TIMEOUT)
        return self.process.returncode, (self._seen + rest).decode(), errors.decode()


Start = Callable[..., Command]
