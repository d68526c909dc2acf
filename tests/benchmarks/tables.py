"""Tables that read well as they are and as Markdown, and the numbers in them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from tests.benchmarks.results import Spread


def number(value: float) -> str:
    """Write a number with about three digits that mean something."""
    size = abs(value)
    if size >= 100 or value == int(value):
        return f"{value:,.0f}"
    return f"{value:.1f}" if size >= 10 else f"{value:.3g}"


def numbers(measured: Spread | None, unit: str = "") -> str:
    """Write a median, and from where to where the rounds go if there are several."""
    if measured is None:
        return "–"
    text = f"{number(measured.median)} {unit}".strip()
    return text if measured.rounds == 1 else f"{text} ({number(measured.low)}–{number(measured.high)})"


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Make a Markdown table; all columns but the first are aligned to the right."""
    lines = [header, *rows]
    widths = [max(3, *(len(line[column]) for line in lines)) for column in range(len(header))]

    def line(cells: Sequence[str]) -> str:
        first, *others = (
            cell.ljust(width) if column == 0 else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(cells, widths, strict=True))
        )
        return "| " + " | ".join((first, *others)) + " |"

    rule = "| " + " | ".join(["-" * widths[0], *("-" * (width - 1) + ":" for width in widths[1:])]) + " |"
    return "\n".join((line(header), rule, *map(line, lines[1:]))) + "\n"
