"""The limit with the two status events of each run, inserted in the same transactions."""

from __future__ import annotations

import functools

from tests.benchmarks.contestants.limit import bare_loop
from tests.benchmarks.work import main

if __name__ == "__main__":
    main(functools.partial(bare_loop, events=True))
