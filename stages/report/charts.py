"""The page's charts as Vega-Lite specifications: as wide as their place, with the page's own fonts and ground."""

from collections.abc import Mapping, Sequence
from typing import Any

import altair as alt
import numpy as np
import pandas as pd

from stages.report.colours import BLUE, CLASSES, DOMAINS, LINES, METHODS, ORANGE, PURPLE
from stages.report.names import LAMBDA, method_name, pair_name
from stages.report.results import started

Spec = dict[str, Any]
# Longer curves are averaged down to so many points, which is what a screen can show.
POINTS = 240
# Accuracy of guessing one of ten digits.
CHANCE = 0.1


def accuracy_bars(adaptation: Mapping[str, Mapping[str, Any]], theirs: Mapping[tuple[str, str], float]) -> Spec:
    """By pair a bar a method with its spread over the seeds; a dash where the study's own figure is comparable;
    dotted, chance."""
    rows = []
    for pair, methods in adaptation.items():
        for method, figures in methods.items():
            mean, std, seeds = (figures["accuracy"][name] for name in ("mean", "std", "n"))
            row = {
                "pair": pair_name(pair),
                "method": method_name(method),
                "accuracy": mean,
                "percent": 100 * mean,
                "seeds": seeds,
            }
            row |= {"low": mean - (std or 0), "high": mean + (std or 0), "std": std, "study": theirs.get((pair, method))}
            rows.append(row)
    methods = list(next(iter(adaptation.values())))
    base = alt.Chart(_values(rows)).encode(
        x=alt.X(
            "pair:N",
            title=None,
            sort=None,
            axis=alt.Axis(labelAngle=0, labelExpr="split(replace(datum.label, ' → ', ' →|'), '|')"),
        ),
        xOffset=alt.XOffset("method:N", sort=[method_name(method) for method in methods]),
    )
    height = alt.Y(
        "accuracy:Q", title="accuracy on target test", scale=alt.Scale(domain=[0, 1]), axis=alt.Axis(format="%", tickCount=5)
    )
    numbers = [alt.Tooltip("accuracy:Q", format=".1%"), alt.Tooltip("std:Q", format=".1%"), alt.Tooltip("seeds:Q")]
    bars = base.mark_bar().encode(y=height, color=_by_method(methods), tooltip=[*_tooltip("pair", "method"), *numbers])
    spread = base.transform_filter("datum.std > 0").encode(y="low:Q", y2="high:Q")
    # A rim in the ground's colour, so that the line is seen on bars of any colour.
    spreads = [spread.mark_rule(strokeWidth=5, style="rim"), spread.mark_rule(strokeWidth=2)]
    labels = base.mark_text(dy=-6, fontSize=11).encode(y="high:Q", text=alt.Text("percent:Q", format=".0f"))
    dash = base.transform_filter("isValid(datum.study)").mark_tick(thickness=3, color=PURPLE).encode(y="study:Q")
    chance = alt.Chart(_values([{"chance": CHANCE}])).mark_rule(strokeDash=[2, 3], opacity=0.7).encode(y="chance:Q")
    return _spec(alt.layer(bars, chance, *spreads, labels, dash), height=300)


def accuracy_curves(runs: Mapping[str, Sequence[Mapping[str, Any]]]) -> Spec:
    """One pair: every method's accuracy on target test over the steps, mean over the seeds, band from least to most."""
    rows = []
    for method, verdicts in runs.items():
        for points in zip(*(verdict["curve"] for verdict in verdicts), strict=False):
            values = [point["accuracy"] for point in points]
            row = {"step": points[0]["step"], "method": method_name(method), "accuracy": float(np.mean(values))}
            rows.append(row | {"low": min(values), "high": max(values)})
    base = alt.Chart(_values(rows)).encode(x=_step(), color=_by_method(list(runs)))
    height = alt.Y("accuracy:Q", title="accuracy on target test", scale=alt.Scale(domain=[0, 1]), axis=alt.Axis(format="%"))
    shown = [*_tooltip("method"), "step:Q", alt.Tooltip("accuracy:Q", format=".1%")]
    line = base.mark_line().encode(y=height)
    points = base.mark_point(filled=True, size=40, opacity=1).encode(y=height, tooltip=shown)
    band = base.mark_area(opacity=0.2).encode(y=alt.Y("low:Q", title="accuracy on target test"), y2="high:Q")
    return _spec(alt.layer(band, line, points))


def lines(
    history: pd.DataFrame,
    names: Mapping[str, str],
    title: str,
    *,
    share: bool = False,
    log: bool = False,
    right: tuple[str, str] = ("", ""),
) -> Spec:
    """One line for each column of `names` that the history has, over an axis of this title; `share` is for values from 0 to 1.

    With `log`, what is not above 0 is left out. `right` is a column of shares of 1 and its label: where the history has it, it is
    drawn in grey, on an axis of its own at the right.
    """
    table = _long(history, names, log=log)
    scale = alt.Scale(type="log", nice=False) if log else alt.Scale(domain=[0, 1]) if share else alt.Scale(zero=False)
    labels = [label for column, label in names.items() if column in history]
    colour = alt.Color("series:N", title=None, scale=alt.Scale(domain=labels, range=list(LINES[: len(labels)])))
    axis = alt.Axis(orient="left", format="%" if share else "~g" if log else ",~f", tickCount=5, grid=not log)
    drawn = (
        alt.Chart(_values(table.to_dict("records")))
        .mark_line(strokeWidth=1.6, clip=True)
        .encode(
            x=_step(),
            y=alt.Y("value:Q", title=title, scale=scale, axis=axis),
            color=colour,
            strokeDash=alt.StrokeDash("series:N", title=None, scale=alt.Scale(domain=labels)),
            tooltip=[alt.Tooltip("series:N", title="value of"), "step:Q", alt.Tooltip("value:Q", format=".4~g")],
        )
    )
    column, label = right
    if column not in history:
        return _spec(drawn)
    table = _long(history, {column: label})
    height = alt.Y("value:Q", title=f"{label} (grey)", scale=alt.Scale(domainMin=0), axis=alt.Axis(grid=False, orient="right"))
    grey = alt.Chart(_values(table.to_dict("records"))).mark_line(strokeWidth=3, opacity=0.6, color="#8b949e")
    grey = grey.encode(x=_step(), y=height, tooltip=["step:Q", alt.Tooltip("value:Q", title=label, format=".3f")])
    return _spec(alt.layer(grey, drawn).resolve_scale(y="independent"))


def losses(history: pd.DataFrame) -> Spec:
    """All losses of one adaptation run on a logarithmic scale, and its lambda."""
    names = {name: name.removesuffix("_loss") for name in history if name.endswith("loss")}
    return lines(history.assign(**started(history[list(names)])), names, "loss, log scale", log=True, right=LAMBDA)


def by_class(series: Mapping[str, Sequence[float | None]], title: str) -> Spec:
    """A bar a class for each of the series, fractions; classes without images have none."""
    rows = [
        {"class": digit, "images": name, "share": value}
        for name, values in series.items()
        for digit, value in enumerate(values)
        if value is not None
    ]
    chart = alt.Chart(_values(rows)).mark_bar()
    height = alt.Y("share:Q", title=title, scale=alt.Scale(domain=[0, 1]), axis=alt.Axis(format="%"))
    colour = alt.Color("images:N", title=None, sort=None, scale=alt.Scale(domain=list(series), range=[BLUE, ORANGE]))
    chart = chart.encode(
        x=alt.X("class:O", axis=alt.Axis(labelAngle=0)),
        xOffset=alt.XOffset("images:N", sort=list(series)),
        y=height,
        color=colour,
        tooltip=[*_tooltip("images"), "class:O", alt.Tooltip("share:Q", title=title, format=".1%")],
    )
    return _spec(chart, height=240)


def scatter(colour: str) -> Spec:
    """t-SNE points, coloured by `label` or by `domain`, without their data, which the page puts in as `points`.

    A point is {id, x, y, label, prediction, domain}; the parameter `picked` is the id of the one with a ring around it.
    """
    domain = list(range(10)) if colour == "label" else list(DOMAINS)
    colours = list(CLASSES) if colour == "label" else list(DOMAINS.values())
    picked = alt.param(name="picked", value=-1)
    # The coordinates' own range with a margin, so that no scale depends on the points that are shown.
    scale = alt.Scale(domain=[-20, 1020], nice=False)
    plane = {
        "x": alt.X("x:Q", axis=None, scale=scale),
        "y": alt.Y("y:Q", axis=None, scale=scale),
    }
    legend = alt.Legend(orient="bottom", title=None, symbolOpacity=1)
    shapes = alt.Scale(domain=list(DOMAINS), range=["circle", "triangle-up"])
    points = alt.Chart().mark_point(filled=True, size=44, opacity=0.8)
    points = points.encode(
        **plane,
        color=alt.Color(f"{colour}:N", scale=alt.Scale(domain=domain, range=colours), legend=legend),
        shape=alt.Shape("domain:N", scale=shapes, legend=alt.Legend(orient="bottom", title=None)),
    )
    ring = alt.Chart().transform_filter("datum.id == picked").mark_point(size=260, strokeWidth=2.5, fill=None).encode(**plane)
    return _spec(alt.layer(points, ring, data=alt.NamedData("points")).add_params(picked), height=440)


def _long(history: pd.DataFrame, names: Mapping[str, str], *, log: bool = False) -> pd.DataFrame:
    """Rows of step, series, value, at most POINTS a series, each the mean of the steps that it stands for."""
    found = []
    for column, label in names.items():
        if column in history:
            known = history[["step", column]].dropna()
            known = known[known[column] > 0] if log else known
            group = np.arange(len(known)) * min(POINTS, len(known)) // max(len(known), 1)
            means = known.groupby(group).mean()
            found.append(pd.DataFrame({"step": means["step"].round().astype(int), "value": means[column], "series": label}))
    table = pd.concat(found, ignore_index=True) if found else pd.DataFrame({"step": [], "value": [], "series": []})
    table["value"] = [float(f"{value:.4g}") for value in table["value"]]
    return table


def _values(rows: list[dict[str, Any]]) -> alt.InlineData:
    return alt.InlineData(values=rows)


def _step() -> alt.X:
    return alt.X("step:Q", axis=alt.Axis(tickCount=5, format="~s", grid=False), scale=alt.Scale(nice=False))


def _by_method(methods: Sequence[str]) -> alt.Color:
    scale = alt.Scale(domain=[method_name(name) for name in methods], range=[METHODS.get(name, PURPLE) for name in methods])
    return alt.Color("method:N", title=None, sort=None, scale=scale, legend=alt.Legend(symbolOpacity=1))


def _tooltip(*fields: str) -> list[alt.Tooltip]:
    return [alt.Tooltip(f"{field}:N") for field in fields]


def _spec(chart: alt.Chart | alt.LayerChart, height: int = 210) -> Spec:
    return chart.properties(width="container", height=height, background="transparent").to_dict()
