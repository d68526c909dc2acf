"""Lets every contestant do the same work, in turns, each time in a fresh process, and keeps what they measure."""

from __future__ import annotations

import ast
import random
import re
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from tests.benchmarks.children import ChildFailed, call_for_json
from tests.benchmarks.contestants import ROOT, Contestant
from tests.benchmarks.describing import machine
from tests.benchmarks.environments import PythonOf
from tests.benchmarks.results import Results
from tests.benchmarks.targets import START

LIMIT: Final = 60
"""Seconds after which the process of a measurement is killed."""
SLOW: Final = 20
"""Who has taken more seconds for a measurement makes it no second time."""
SCENARIO_LIMIT: Final = {"quick": 120, "full": 400}
SCENARIO_ROUNDS: Final = {"quick": 1, "full": 3}
SECONDS: Final = {"quick": 1.0, "full": 1.5}
"""How long new runs are started in a measurement."""


@dataclass(frozen=True)
class Workload:
    """Something to do, as arguments of a contestant."""

    name: str
    arguments: tuple[str, ...]
    is_open: bool = False


WORKLOADS: Final = (
    *(Workload(f"closed-{count}", ("closed", "--concurrent", str(count))) for count in (1, 100, 1000)),
    *(Workload(f"open-{rate}", ("open", "--rate", str(rate)), is_open=True) for rate in (1000, 2000)),
)


@dataclass(frozen=True)
class Scenario:
    """A module that asks a question of its own, as its first line says, and answers with figures, curves and targets.

    Attributes:
        name: The module, in the folder of scenarios.
        about: The first line of its docstring.
        rounds: In how many rounds it is executed at most, where it says so.
        environment: Where it is executed.
    """

    name: str
    about: str = ""
    rounds: int | None = None
    environment: str = "aioruns"


def scenarios(folder: Path = ROOT / "tests" / "benchmarks" / "scenarios") -> list[Scenario]:
    """Find the scenarios, without importing what may not be installed here."""
    found: list[Scenario] = []
    for path in sorted(folder.glob("[!_]*.py")):
        source = path.read_text(encoding="utf-8")
        about = ast.get_docstring(ast.parse(source)) or ""
        rounds = re.search(r"^ROUNDS\b[^=]*= *(\d+)", source, re.MULTILINE)
        environment = re.search(r'^ENVIRONMENT\b[^=]*= *"(\w+)"', source, re.MULTILINE)
        found.append(
            Scenario(
                path.stem,
                about.partition("\n")[0],
                int(rounds[1]) if rounds else None,
                environment[1] if environment else "aioruns",
            )
        )
    return found


@dataclass
class Harness:
    """A session of measuring.

    Attributes:
        contestants: Who takes part.
        scenarios: What else is looked at.
        rounds: How often everything is measured.
        effort: ``quick`` or ``full``.
        python_of: Gives the interpreter of an environment.
        folder: Where databases are written; its disk is what is measured.
        workloads: What is to be done.
        seconds: How long new runs are started in a measurement; by default what the effort says.
        after_round: Is shown the results after every round.
    """

    contestants: Sequence[Contestant]
    scenarios: Sequence[Scenario]
    rounds: int
    effort: str
    python_of: PythonOf
    folder: Path
    workloads: Sequence[Workload] = WORKLOADS
    seconds: float | None = None
    after_round: Callable[[Results], None] = lambda results: None
    _pythons: dict[str, Path | ChildFailed] = field(default_factory=dict[str, Path | ChildFailed])
    _slow: set[tuple[str, str]] = field(default_factory=set[tuple[str, str]])

    def run(self) -> Results:
        """Measure everything. Nobody's failure stops the others."""
        results = Results(self.effort, self.rounds, machine(self.folder))
        self._make_environments(results)
        for round_ in range(1, self.rounds + 1):
            for contestant, workload in self._plan(round_):
                outcome = self._measure(contestant, workload)
                about = {"contestant": contestant.name, "workload": workload.name, "round": round_}
                results.measurements.append(about | outcome)
                self._tell(round_, workload.name, contestant.name, outcome)
            for scenario in self._scenarios_of(round_):
                outcome = self._ask(scenario)
                about = {"name": scenario.name, "about": scenario.about, "round": round_}
                results.scenarios.append(about | outcome)
                self._tell(round_, "scenario", scenario.name, outcome)
            self.after_round(results)
        return results

    def _tell(self, round_: int, what: str, name: str, outcome: dict[str, Any]) -> None:
        """Print how it went, for whoever waits."""
        text = outcome.get("error") or f"{outcome['seconds']:6.1f} s"
        if figures := outcome.get("figures"):
            text += f"  {figures['runs per second']:>9,.0f} runs/s  {figures[START]:>9,.2f} ms start p99"
        print(f"round {round_} of {self.rounds}  {what:<12}  {name:<14}  {text}", flush=True)

    def _make_environments(self, results: Results) -> None:
        """Make the environments that are needed, and note what is in them."""
        for name in dict.fromkeys(each.environment for each in (*self.contestants, *self.scenarios)):
            try:
                self._pythons[name] = python = self.python_of(name)
                described = call_for_json((python, "-m", "tests.benchmarks.describing"), seconds=LIMIT)
            except ChildFailed as error:
                self._pythons[name] = ChildFailed(f"no environment: {error}")
                described = {"error": str(error)}
            results.environments[name] = described

    def _plan(self, round_: int) -> Iterator[tuple[Contestant, Workload]]:
        """Order a round: all contestants behind one another for each workload, in another order each time."""
        chance = random.Random(round_)
        for workload in chance.sample(self.workloads, len(self.workloads)):
            for contestant in chance.sample(self.contestants, len(self.contestants)):
                can = contestant.open_loop or not workload.is_open
                if can and (contestant.name, workload.name) not in self._slow:
                    yield contestant, workload

    def _scenarios_of(self, round_: int) -> Iterable[Scenario]:
        most = SCENARIO_ROUNDS[self.effort]
        return (each for each in self.scenarios if round_ <= min(most, each.rounds or most))

    def _measure(self, contestant: Contestant, workload: Workload) -> dict[str, Any]:
        """Let a contestant do some work."""
        outcome = self._execute(
            contestant.environment,
            f"contestants.{contestant.module}",
            *(*workload.arguments, "--seconds", str(self.seconds or SECONDS[self.effort])),
            *(["--uvloop"] if contestant.uvloop else []),
            limit=LIMIT,
        )
        if outcome["seconds"] > SLOW:
            self._slow.add((contestant.name, workload.name))
        return outcome

    def _ask(self, scenario: Scenario) -> dict[str, Any]:
        """Let a scenario answer its question."""
        limit = SCENARIO_LIMIT[self.effort]
        outcome = self._execute(
            scenario.environment, f"scenarios.{scenario.name}", "--effort", self.effort, limit=limit
        )
        return outcome if "error" in outcome else {"report": outcome, "seconds": outcome.pop("seconds")}

    def _execute(self, environment: str, module: str, *arguments: str, limit: float) -> dict[str, Any]:
        """Execute a program of this folder; return what it printed or its ``error``, and the ``seconds`` it took."""
        began = time.monotonic()
        try:
            python = self._pythons[environment]
            if isinstance(python, ChildFailed):
                raise python
            with tempfile.TemporaryDirectory(dir=self.folder) as folder:
                command = (python, "-m", f"tests.benchmarks.{module}", *arguments)
                outcome = call_for_json(command, seconds=limit, folder=Path(folder))
        except ChildFailed as error:
            outcome = {"error": str(error)}
        return {**outcome, "seconds": round(time.monotonic() - began, 1)}
