"""Accuracies as bars, confusion matrices, t-SNE scatters, and what each step of a claim gains."""

from collections.abc import Mapping, Sequence
from textwrap import fill
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import PercentFormatter

from stages.report import verdicts
from stages.report.colours import BLUE, CLASSES, DOMAINS, ORANGE
from stages.report.names import method_name, pair_name
from stages.report.style import FAINT, INK, canvas, chance, hide, method_colour

# A space at which `fill` breaks no line.
UNBROKEN = "\N{NO-BREAK SPACE}"
# Of a gain by its direction: 1 for better, -1 for worse, 0 where chance alone could be the reason.
GAINS = {
    1: (BLUE, f"better beyond chance ({100 * verdicts.CONFIDENCE:.0f} %)"),
    -1: (ORANGE, "worse beyond chance"),
    0: (FAINT, "within chance"),
}


def accuracy_bars(summary: Mapping[str, Mapping[str, Mapping[str, Any]]]) -> Figure:
    """`adaptation` of the summary: for each pair a bar a method, its value above, its spread where there are several seeds."""
    methods = list(next(iter(summary.values())))
    figure, (axis,) = canvas(1, 1, width=max(6.0, 1.2 + 0.72 * len(methods) * len(summary)), height=4.0)
    width = 0.84 / len(methods)
    for offset, method in enumerate(methods):
        values = [summary[pair][method]["accuracy"] for pair in summary]
        places = np.arange(len(summary)) + (offset - (len(methods) - 1) / 2) * width
        means = [value["mean"] for value in values]
        axis.bar(places, means, width * 0.92, color=method_colour(method), label=method_name(method))
        for place, value in zip(places, values, strict=True):
            std = value["std"] or 0.0
            if std:
                axis.errorbar(place, value["mean"], std, color=INK, capsize=3, linewidth=1.2)
            axis.text(place, value["mean"] + std + 0.012, f"{100 * value['mean']:.1f}", ha="center", va="bottom", fontsize=9)
    chance(axis)
    axis.set_xticks(range(len(summary)), [pair_name(pair) for pair in summary])
    axis.tick_params(axis="x", length=0)
    axis.grid(False, axis="x")
    axis.set(ylim=(0, 1.08), ylabel=f"accuracy on target test\n{seeds(summary)}", yticks=np.linspace(0, 1, 6))
    axis.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
    figure.legend(loc="outside upper center", ncols=len(methods))
    return figure


def seeds(summary: Mapping[str, Mapping[str, Mapping[str, Any]]]) -> str:
    """How many seeds the accuracies are means of, in words."""
    counts = {figures["accuracy"]["n"] for methods in summary.values() for figures in methods.values()}
    fewest, most = min(counts), max(counts)
    if most == 1:
        return "one seed"
    return f"mean ± deviation, {most if fewest == most else f'{fewest} to {most}'} seeds"


def confusions(matrices: Mapping[str, np.ndarray], *, generated: str = "") -> Figure:
    """One matrix a title, counts [true][predicted] drawn as shares of each true class; the titles may have a second line.

    `generated` is the title of the matrix whose digits are generated: these have no true class, only the one asked for.
    """
    columns = min(2, len(matrices))
    figure, axes = canvas(-(-len(matrices) // columns), columns, width=4.6, height=4.5)
    for axis, (title, counts) in zip(axes, matrices.items(), strict=False):
        kind = "class asked for" if title == generated else "true class"
        _confusion(axis, np.asarray(counts, dtype=float), title, f"{kind} (each row: 100 %)")
    hide(axes[len(matrices) :])
    return figure


def judged(real: list[float | None], generated: list[float | None]) -> Figure:
    """The judge's accuracy for each class, on real test digits and on generated ones."""
    figure, (axis,) = canvas(1, 1, width=7.5, height=3.2)
    for offset, (values, colour, label) in enumerate([(real, BLUE, "real test digits"), (generated, ORANGE, "generated digits")]):
        places = np.arange(10) + (offset - 0.5) * 0.4
        axis.bar(places, [value or 0.0 for value in values], 0.37, color=colour, label=label)
    axis.set_xticks(range(10))
    axis.tick_params(axis="x", length=0)
    axis.grid(False, axis="x")
    axis.set(ylim=(0, 1.02), xlabel="class", ylabel="judge's accuracy")
    axis.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
    figure.legend(loc="outside upper center", ncols=2)
    return figure


def tsne(points: pd.DataFrame, name: str) -> Figure:
    """The same points twice: coloured by class, each digit written where its source images lie, and by domain.

    Source images are circles and target images crosses; `name` says whose codes they are, above both.
    """
    figure, (by_class, by_domain) = canvas(1, 2, width=5.2, height=5.2)
    figure.suptitle(name, x=0.01, ha="left", fontsize=12, fontweight="bold")
    for (label, domain), group in points.groupby(["label", "domain"]):
        _scatter(by_class, group, CLASSES[int(label) % 10], domain, str(label) if domain == "source" else "")
    for label, group in points[points["domain"] == "source"].groupby("label"):
        box = {"boxstyle": "circle,pad=0.2", "facecolor": "white", "edgecolor": CLASSES[int(label) % 10], "linewidth": 1.5}
        by_class.text(group["x"].median(), group["y"].median(), str(label), ha="center", va="center", fontsize=10, bbox=box)
    for domain, colour in DOMAINS.items():
        _scatter(by_domain, points[points["domain"] == domain], colour, domain, domain)
    hint = "by class (● source, × target; digit written where the source lies)"
    for axis, title, columns in ((by_class, hint, 10), (by_domain, "by domain", 2)):
        axis.set_title(title, fontsize=9.5)
        axis.grid(False)
        axis.set(xticks=[], yticks=[])
        axis.spines[:].set_visible(False)
        axis.legend(loc="upper center", bbox_to_anchor=(0.5, 0), ncols=columns, markerscale=2, handletextpad=0, columnspacing=0.8)
    return figure


def gains(claims: Sequence[Sequence[verdicts.Reading]]) -> Figure:
    """By how much each claim's figure gets better from setting to setting, with the margin of chance, in the colour of GAINS that
    value and margin give. All shares, in percent, have one axis, and every other measure its own."""
    found: dict[bool | str, list[tuple[verdicts.Reading, str, float, float]]] = {}
    for claim in claims:
        found.setdefault(claim[-1].percent or claim[-1].measure, []).extend((claim[-1], *gain) for gain in verdicts.gains(claim))
    panels = [panel for panel in found.values() if panel]
    rows = [len(panel) for panel in panels]
    figure, axes = canvas(len(panels), 1, width=12.0, height=0.34 * sum(rows) / len(rows) + 0.7, height_ratios=rows)
    for axis, panel in zip(axes, panels, strict=True):
        for row, (*_, value, margin) in enumerate(panel):
            colour, _ = GAINS[verdicts.beyond_chance(value, margin)]
            axis.errorbar(value, row, xerr=margin, color=colour, fmt="o", markersize=5, linewidth=2, capsize=3)
        axis.axvline(0, color=INK, linewidth=1)
        labels = [_step(reading, step) for reading, step, *_ in panel]
        axis.set_yticks(range(len(panel)), labels, fontsize=9, parse_math=False)
        axis.tick_params(axis="y", length=0)
        unit = "percentage points" if panel[0][0].percent else panel[0][0].measure
        axis.set(ylim=(len(panel) - 0.4, -0.6), xlabel=f"better by ({unit})")
    marks = [Line2D([], [], color=colour, marker="o", linewidth=2) for colour, _ in GAINS.values()]
    figure.legend(marks, [words for _, words in GAINS.values()], loc="outside upper right", ncols=len(GAINS))
    return figure


def _step(reading: verdicts.Reading, step: str) -> str:
    """A claim and, in a bracket that no line break tears apart, its measure and the step from setting to setting."""
    bracket = f"({reading.measure}, {step})".replace(" ", UNBROKEN)
    return fill(f"{reading.claim} {bracket}", 96, break_on_hyphens=False).replace(UNBROKEN, " ")


def _scatter(axis: Axes, points: pd.DataFrame, colour: str, domain: str, label: str) -> None:
    marks = {"marker": "o", "s": 11, "linewidths": 0} if domain == "source" else {"marker": "x", "s": 14, "linewidths": 1.1}
    axis.scatter(points["x"], points["y"], color=colour, alpha=0.75, label=label, **marks)


def _confusion(axis: Axes, counts: np.ndarray, title: str, rows: str) -> None:
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    axis.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    for row, column in np.ndindex(shares.shape):
        if shares[row, column] >= 0.005:
            colour = "white" if shares[row, column] > 0.55 else INK
            text = f"{100 * shares[row, column]:.0f}"
            axis.text(column, row, text, ha="center", va="center", fontsize=8, color=colour)
    axis.set_title(title)
    axis.grid(False)
    axis.set(xticks=range(10), yticks=range(10), xlabel="predicted", ylabel=rows)
    axis.tick_params(length=0)
