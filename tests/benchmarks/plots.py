"""Draws: small SVG files, legible on light and on dark pages, the same for the same figures."""

from __future__ import annotations

import io
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Final

import matplotlib as mpl  # pyright: ignore[reportMissingImports]
from matplotlib.figure import Figure  # pyright: ignore[reportMissingImports]
from tests.benchmarks.pictures import Picture, Points
from tests.benchmarks.results import Spread
from tests.benchmarks.tables import number

INK: Final = "#808080"
"""As far from white as from black."""
OURS: Final = "#d9730d"
OTHER: Final = "#4a90d9"
COLOURS: Final = (OURS, OTHER, "#3fa45b", "#b05cc9", "#c9a227", "#d14b6a", "#2ba6a6", "#8a7a6a")

STYLE: Final = {
    "svg.fonttype": "none",  # text stays text: small, and in a font of the page's reader
    "svg.hashsalt": "aioruns",
    "font.sans-serif": ["DejaVu Sans"],
    "font.size": 9,
    "text.color": INK,
    "axes.labelcolor": INK,
    "axes.edgecolor": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": INK,
    "grid.alpha": 0.25,
    "grid.linewidth": 0.6,
    "xtick.color": INK,
    "ytick.color": INK,
    "legend.frameon": False,
    "savefig.transparent": True,
}


def draw(picture: Picture, path: Path) -> None:
    """Draw a picture into a file."""
    with mpl.rc_context(STYLE):
        height = 0.6 + 0.26 * len(picture.bars) if picture.bars else 3.2
        figure = Figure(figsize=(7, height), layout="constrained")
        axes = figure.subplots()
        axes.set_xlabel(picture.x)
        if picture.bars:
            _bars(axes, picture.bars)
        else:
            axes.set_ylabel(picture.y)
            _curves(axes, picture.lines)
        axes.minorticks_off()
        for axis in (axes.xaxis, axes.yaxis):
            if axis.get_scale() != "linear":
                axis.set_major_formatter(lambda value, _: number(value))
        _save(figure, path)


def _bars(axes: Any, bars: Mapping[str, Spread]) -> None:
    """Draw a bar for each contestant, the longest on top, on a logarithmic axis; a line shows the spread."""
    shown = sorted(bars.items(), key=lambda each: each[1].median)
    axes.grid(visible=False, axis="y")
    for height, (name, spread) in enumerate(shown):
        axes.barh(height, spread.median, height=0.7, color=OURS if name.startswith("ours") else OTHER)
        axes.plot([spread.low, spread.high], [height, height], color=INK, linewidth=2)
        beside = {"xytext": (4, 0), "textcoords": "offset points", "va": "center", "fontsize": 8}
        axes.annotate(number(spread.median), (spread.high, height), **beside)
    axes.set_yticks(range(len(shown)), [name for name, _ in shown])
    axes.set_xscale("log")
    axes.margins(x=0.12)


def _curves(axes: Any, lines: Mapping[str, Points]) -> None:
    """Draw curves, on axes that are logarithmic where the values are orders of magnitude apart."""
    for (name, points), colour in zip(lines.items(), COLOURS, strict=False):
        axes.plot(*zip(*points, strict=True), marker="o", markersize=4, color=colour, label=name)
    xs, ys = zip(*(point for points in lines.values() for point in points), strict=True)
    if _spans_decades(xs):
        axes.set_xscale("log" if min(xs) > 0 else "symlog")
    if _spans_decades(ys) and min(ys) > 0:
        axes.set_yscale("log")
    else:
        axes.set_ylim(bottom=min(0, *ys))
    if len(lines) > 1:
        axes.legend()


def _spans_decades(values: Iterable[float]) -> bool:
    positive = [value for value in values if value > 0]
    return bool(positive) and max(positive) / min(positive) >= 20


def _save(figure: Any, path: Path) -> None:
    """Write a figure without what only its maker needs: a date, metadata, line breaks, digits that no screen shows."""
    written = io.StringIO()
    figure.savefig(written, format="svg", metadata=dict.fromkeys(("Date", "Creator", "Format", "Type")))
    text = re.sub(r"(\.\d)\d+", r"\1", written.getvalue())
    text = re.sub(r" *\n(?!<)\s*(?=[^<\s])", " ", text)  # within a path
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(re.sub(r"\n\s+", "\n", text), encoding="utf-8")
