"""Training curves and accuracy curves."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, MaxNLocator, NullLocator, PercentFormatter

from stages.report.colours import LINES
from stages.report.names import AUGMENTED, LAMBDA, REGULARISERS, method_name, pair_name
from stages.report.results import started
from stages.report.style import FAINT, canvas, chance, hide, method_colour


def stylegan2(history: pd.DataFrame) -> Figure:
    """Losses, the discriminator's mean outputs, and the regularisers with, dashed on the right, the chance of augmentation."""
    figure, (losses, scores, rest) = canvas(1, 3, width=4.2)
    _lines(losses, history, {"loss_d": "discriminator", "loss_g": "generator"}, "losses")
    _lines(scores, history, {"d_real": "on real", "d_fake": "on generated"}, "discriminator's output")
    _lines(rest, history, REGULARISERS, "regularisation")
    _right(rest, history, *AUGMENTED, percent=True)
    return figure


def acgan(history: pd.DataFrame) -> Figure:
    """Losses, and how often the discriminator's class head is right."""
    figure, (losses, accuracies) = canvas(1, 2)
    _lines(losses, history, {"loss_discriminator": "discriminator", "loss_generator": "generator"}, "losses")
    _lines(accuracies, history, {"accuracy_real": "real", "accuracy_fake": "generated"}, "class head's accuracy in training")
    _percent(accuracies)
    return figure


def judge(history: pd.DataFrame) -> Figure:
    """Loss and accuracy on the training batches."""
    figure, (loss, accuracy) = canvas(1, 2)
    _lines(loss, history, {"loss": "cross-entropy"}, "loss")
    _logarithmic(loss)
    _lines(accuracy, history, {"accuracy": "training batches"}, "accuracy in training")
    _percent(accuracy)
    return figure


def adaptation(histories: Mapping[str, pd.DataFrame]) -> Figure:
    """By method, all losses on a logarithmic scale and, dashed on the right, lambda where there is one."""
    figure, axes = canvas(-(-len(histories) // 2), 2, height=3.0)
    for axis, (method, history) in zip(axes, histories.items(), strict=False):
        losses = {name: name.removesuffix("_loss") for name in history if name.endswith("loss")}
        _lines(axis, started(history), losses, f"{method_name(method)}: losses")
        _logarithmic(axis)
        _right(axis, history, *LAMBDA)
    hide(axes[len(histories) :])
    return figure


def accuracies(pairs: Mapping[str, Mapping[str, Sequence[Sequence[Mapping[str, Any]]]]]) -> Figure:
    """By pair, each method's accuracy on the target test images over the steps: mean over the seeds, band from least to most."""
    figure, axes = canvas(1, len(pairs), width=4.2, sharey=True)
    for axis, (pair, methods) in zip(axes, pairs.items(), strict=True):
        for method, curves in methods.items():
            steps = [point["step"] for point in curves[0]]
            values = np.array([[point["accuracy"] for point in curve] for curve in curves])
            colour = method_colour(method)
            axis.plot(steps, values.mean(axis=0), "o-", color=colour, markersize=4, label=method_name(method))
            if len(values) > 1:
                axis.fill_between(steps, values.min(axis=0), values.max(axis=0), color=colour, alpha=0.2, linewidth=0)
        chance(axis)
        _dress(axis, pair_name(pair))
        _percent(axis)
    axes[0].set_ylabel("accuracy on target test")
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=6)
    return figure


def _lines(axis: Axes, history: pd.DataFrame, names: Mapping[str, str], title: str) -> None:
    """One line for each column of `names` that the history has; steps without a value are left out."""
    for colour, (column, label) in zip(LINES, names.items(), strict=False):
        if column in history:
            known = history[["step", column]].dropna()
            axis.plot(known["step"], known[column], color=colour, label=label)
    _dress(axis, title)
    if axis.get_legend_handles_labels()[0]:
        axis.legend(fontsize=8.5)


def _right(axis: Axes, history: pd.DataFrame, column: str, label: str, *, percent: bool = False) -> None:
    """A share of 1, dashed over an axis at the right, where the history has it: up to 1, or in percent up to its own maximum."""
    if column not in history:
        return
    right = axis.twinx()
    right.plot(history["step"], history[column], color=FAINT, linestyle="--", linewidth=1.2)
    # One percent at least, since a share that stays at 0 has no scale of its own.
    top = max(history[column].max(), 0.01) if percent else 1.0
    right.set_ylim(-0.02 * top, 1.02 * top)
    if percent:
        right.yaxis.set(major_locator=MaxNLocator(5), major_formatter=lambda share, _: f"{100 * share:.3g}%")
    right.set_ylabel(f"{label} (dashed)", color=FAINT)
    right.tick_params(colors=FAINT)
    right.grid(False)
    axis.set_zorder(right.get_zorder() + 1)
    axis.patch.set_visible(False)


def _logarithmic(axis: Axes) -> None:
    """A logarithmic scale with plain numbers: 1, 2 and 5 of each power of ten, or over many powers these alone."""
    axis.set_yscale("log")
    bottom, top = axis.get_ylim()
    axis.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5) if top < 1000 * bottom else (1,)))
    axis.yaxis.set_minor_locator(NullLocator())
    axis.yaxis.set_major_formatter("{x:g}")


def _percent(axis: Axes) -> None:
    axis.set_ylim(0, 1.02)
    axis.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))


def _dress(axis: Axes, title: str) -> None:
    axis.set_title(title)
    axis.set_xlabel("step")
    axis.xaxis.set_major_locator(MaxNLocator(5, integer=True))
