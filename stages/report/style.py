"""One look for all pictures: colours that colour-blind people can tell apart, and PNG files of always the same bytes."""

from collections.abc import Iterable
from pathlib import Path

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt  # noqa: E402
from matplotlib.axes import Axes  # noqa: E402
from matplotlib.figure import Figure  # noqa: E402

from stages.report.colours import METHODS, PURPLE  # noqa: E402
from stages.runtime.files import replacing  # noqa: E402

INK, FAINT = "#22272e", "#8b949e"

SETTINGS = {
    "figure.dpi": 120,
    "savefig.dpi": 120,
    "figure.facecolor": "white",
    "figure.constrained_layout.use": True,
    "font.size": 10,
    "axes.titlesize": 11,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": FAINT,
    "axes.labelcolor": INK,
    "axes.titlecolor": INK,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#e4e7eb",
    "grid.linewidth": 0.8,
    "lines.linewidth": 1.6,
    "text.color": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "legend.framealpha": 0.85,
    "legend.edgecolor": "none",
    "legend.fancybox": False,
}


def canvas(rows: int = 1, columns: int = 1, *, width: float = 5.0, height: float = 3.4, **options) -> tuple[Figure, list[Axes]]:
    """A figure in the common look with rows x columns axes of about width x height inches, the axes in reading order."""
    matplotlib.rcdefaults()
    plt.rcParams.update(SETTINGS)
    figure, axes = plt.subplots(rows, columns, figsize=(width * columns, height * rows), squeeze=False, **options)
    return figure, list(axes.flat)


def save(figure: Figure, path: str | Path) -> None:
    """Write the figure as PNG, without date or program name, and close it."""
    with replacing(path) as temporary:
        figure.savefig(temporary, format="png", bbox_inches="tight", pad_inches=0.06, metadata={"Software": None})
    plt.close(figure)


def method_colour(method: str) -> str:
    """A method's colour, the same in all pictures."""
    return METHODS.get(method, PURPLE)


def chance(axis: Axes) -> None:
    """A dotted line at the accuracy of guessing one of ten classes, named at its right end."""
    axis.axhline(0.1, color=FAINT, linestyle=":", linewidth=1.2)
    axis.text(1.005, 0.1, "chance", color=FAINT, va="center", fontsize=9, transform=axis.get_yaxis_transform())


def hide(axes: Iterable[Axes]) -> None:
    """Switch off axes that have nothing to show."""
    for axis in axes:
        axis.set_axis_off()
