"""Writes the page of the results, docs/benchmarks.md, and the same tables for the terminal."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Final

from tests.benchmarks.contestants import CONTESTANTS, ENVIRONMENTS, Contestant
from tests.benchmarks.harness import LIMIT, SECONDS, SLOW
from tests.benchmarks.pictures import Picture, contests, growth
from tests.benchmarks.results import Results
from tests.benchmarks.tables import number, numbers, table
from tests.benchmarks.targets import LAG, START, THROUGHPUT, targets

FOLDER: Final = "benchmarks"
"""Beside the page: its plots, and the file of all results."""
NAMES: Final = [each.name for each in CONTESTANTS]

HEAD: Final = """\
# Benchmarks

What runs cost here, what they cost elsewhere, and what they could cost at least. `nox -s bench` measures all of it
again and writes this page; nothing on it is written by hand. The figures of every round are kept in
[one file](benchmarks/results.json).

"""

METHOD: Final = """\
## How it is measured

Every contestant does the same work, in the same session, on the same disk. A **round** goes through all workloads, and
through all contestants for each, in an order that is drawn anew each time. Each measurement is a fresh process in an
environment of the contestant's own. So what disturbs the machine for a minute disturbs neighbours alike, and ratios are
the medians of ratios within a round. A figure in a table is the median of the rounds, with the smallest and the largest
in brackets.

- **The work** is an asynchronous function of two small arguments that returns one of them. It is *started*: the
  contestant has accepted it, and stored that if it stores anything. Then it is *awaited*: its result is there, and
  stored if it is stored at all.
- **Closed loop**: so many workers start and await one run after another for {seconds:g} s, and the clock stops when the
  last run has ended. Nobody starts more than the contestant takes; what is asked is how much that is.
- **Open loop**: runs arrive when chance says so (Poisson), whether the earlier ones have ended or not, and sleep for up
  to 50 ms. What is asked is how long a start takes at a load that does not wait. "Since due" counts from the moment at
  which the arrival was due, and so includes what the event loop was late to make it.
- **Event-loop lag** is how late a task is woken that sleeps for a millisecond. The timers of asyncio on Linux have a
  granularity of a millisecond themselves.
- **Durability** is each contestant's default. `synchronous` is read back from a connection of its own where it shows
  one, `journal_mode` from the file that it has left. Mind that `synchronous=FULL` with a rollback journal waits for the
  disk several times for a transaction, and with a write-ahead log once.
- A measurement that takes longer than {limit} s is stopped and reported as such; one that takes more than {slow} s is
  made in the first round only.

**The limit** is what a program could reach that does nothing but store two statements for each run: it chooses the ids
itself, keeps no promise when something fails, and tells nobody what happens. It makes a task of every run, as everybody
does who starts one. Two ways to make it faster were tried, and left out because each gave less than a tenth: statements
of many rows instead of `executemany`, and sending everything from `BEGIN` to `COMMIT` without waiting in between, which
would commit what follows a failure.

Nothing here decides whether a change is accepted: the figures of a busy machine would be the wrong judge.
"""


def page(results: Results, *, with_plots: bool) -> str:
    """Write the whole page.

    Args:
        results: What was measured.
        with_plots: Whether the pictures have been drawn.
    """
    picture: Callable[[Picture], str] = _image if with_plots else lambda _: ""
    *throughputs, latencies = map(picture, contests(results, NAMES))
    parts = [
        HEAD,
        "## Targets\n\n",
        _targets(results),
        "\n## Machine\n\n",
        _machine(results),
        "\n## Throughput\n\nStarted and awaited runs of nothing, per second.\n\n",
        throughput(results),
        *throughputs,
        "\n## Latency\n\nAt 100 concurrent, closed loop.\n\n",
        latency(results),
        latencies,
        "\n## Open loop\n\nStarts per second that arrive by chance, bodies that sleep for up to 50 ms.\n\n",
        open_loop(results),
        "\n## How cost grows, and other questions\n",
        *_scenarios(results, picture),
        "\n## The contestants\n\n",
        _contestants(results),
        "\n",
        METHOD.format(seconds=SECONDS[results.effort], limit=LIMIT, slow=SLOW),
    ]
    return "".join(parts)


def pictures(results: Results) -> Iterator[Picture]:
    """Give every picture of the page."""
    yield from contests(results, NAMES)
    for name, report in results.reports().items():
        if "series" in report:
            yield from growth(name, report)


def throughput(results: Results) -> str:
    """Compare everybody by runs per second."""
    counts = (1, 100, 1000)
    rows: list[list[str]] = []
    for each in _present(results):
        cells = [_cell(results, each, f"closed-{count}", THROUGHPUT) for count in counts]
        cpu = results.figure(each.name, "closed-100", "CPU per run (µs)")
        rows.append([_name(each), *cells, numbers(cpu)])
    return table(["contestant", *(f"{count:,} concurrent" for count in counts), "CPU µs per run at 100"], rows)


def latency(results: Results) -> str:
    """Compare everybody by how long a start takes, and how late the event loop is."""
    figures = ("start p50 (ms)", START, "event-loop lag p50 (ms)", LAG)
    present = _present(results)
    return table(
        ["contestant", *figures],
        [[_name(each), *(_cell(results, each, "closed-100", figure) for figure in figures)] for each in present],
    )


def open_loop(results: Results) -> str:
    """Compare those who bear it by what a start takes when arrivals do not wait."""
    figures = ("start p50 (ms)", START, "start since due p99 (ms)", LAG)
    rows = [
        [f"{each.name}, {rate:,}/s", *(_cell(results, each, f"open-{rate}", figure) for figure in figures)]
        for rate in (1000, 2000)
        for each in _present(results)
        if each.open_loop
    ]
    return table(["contestant, starts per second", *figures], rows)


def _present(results: Results) -> Sequence[Contestant]:
    names = {each["contestant"] for each in results.measurements}
    return [each for each in CONTESTANTS if each.name in names]


def _name(contestant: Contestant) -> str:
    return contestant.name if contestant.durable else f"{contestant.name} (stores nothing)"


def _cell(results: Results, contestant: Contestant, workload: str, figure: str) -> str:
    """Write a figure, or that there is none: the list of contestants says why."""
    measured = results.figure(contestant.name, workload, figure)
    failed = measured is None and workload in results.errors(contestant.name)
    return "failed" if failed else numbers(measured)


def _targets(results: Results) -> str:
    rows = [
        [each.what, each.limit, numbers(each.measured, each.unit), _verdict(each.measured is not None, each.met)]
        for each in targets(results)
    ]
    met = sum(row[-1] == "yes" for row in rows)
    return f"{met} of {len(rows)} are met.\n\n" + table(["target", "limit", "measured", "met"], rows)


def _verdict(measured: bool, met: bool) -> str:
    return ("yes" if met else "**no**") if measured else "not measured"


def _machine(results: Results) -> str:
    python = next((each for each in results.environments.values() if "python" in each), {})
    facts = {
        **results.machine,
        "Python": python.get("python", "–"),
        "SQLite": python.get("sqlite", "–"),
        "effort": f"{results.effort}, {results.rounds} round{'s' if results.rounds > 1 else ''}",
    }
    return table(["", "this session"], [[what, value] for what, value in facts.items()])


def _contestants(results: Results) -> str:
    return "".join(_contestant(results, each) for each in _present(results))


def _contestant(results: Results, contestant: Contestant) -> str:
    """Say what a contestant is, how durable, of which versions, and where it failed."""
    parts = [f"- **{contestant.name}**: {contestant.what}"]
    if settings := results.settings(contestant.name):
        parts.append(f"Durability: {settings}.")
    installed = results.environments.get(contestant.environment, {}).get("packages", {})
    named = {"aioruns", "aiosqlite", "sqlalchemy", "uvloop", *ENVIRONMENTS} & installed.keys()
    if named:
        parts.append(f"({', '.join(f'{name} {installed[name]}' for name in sorted(named))})")
    errors = (f"  - {workload} failed: `{error}`\n" for workload, error in results.errors(contestant.name).items())
    return " ".join(parts) + "\n" + "".join(errors)


def _scenarios(results: Results, picture: Callable[[Picture], str]) -> Iterator[str]:
    """Write a section for each scenario: its curves, each explained, and its other figures."""
    for name, report in results.reports().items():
        yield f"\n### {name.replace('_', ' ').capitalize()}\n\n{report['about']}\n"
        if "error" in report:
            yield f"\nIt failed: `{report['error']}`\n"
            continue
        for each in growth(name, report):
            yield picture(each) + f"\n{each.explains}\n"
        if report["figures"]:
            rows = [[what, number(value)] for what, value in report["figures"].items()]
            yield "\n" + table(["figure", "median"], rows)


def _image(picture: Picture) -> str:
    return "" if picture.empty else f"\n![{picture.title}]({FOLDER}/{picture.file})\n"


def write(results: Results, folder: Path) -> None:
    """Write the page, its plots, and the results themselves into a folder of documentation."""
    results.save(folder / FOLDER / "results.json")
    try:
        from tests.benchmarks.plots import draw
    except ImportError as error:
        print(f"no plots: {error}")
        drawn = False
    else:
        for old in (folder / FOLDER).glob("*.svg"):
            old.unlink()
        for each in pictures(results):
            if not each.empty:
                draw(each, folder / FOLDER / each.file)
        drawn = True
    (folder / f"{FOLDER}.md").write_text(page(results, with_plots=drawn), encoding="utf-8")
