"""metrics/ablation.csv: every figure that a claim was judged by, and whether it holds."""

import csv
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, fields
from itertools import groupby, pairwise
from math import sqrt
from pathlib import Path
from typing import Any

from stages.report.names import SHARES
from stages.runtime.errors import UserError
from stages.runtime.files import replacing

PATH = Path("metrics/ablation.csv")
CONFIRMED, REFUTED, OPEN = "confirmed", "refuted", "open"
# Of a claim some of whose settings have not been run yet.
UNFINISHED = "unfinished"
# Of a line that no claim rests on any more: its setting has changed, or was run anew. A figure once read stays on record.
SUPERSEDED = "superseded"
VERDICTS = (CONFIRMED, REFUTED, OPEN, UNFINISHED, SUPERSEDED)
# From which confidence on, by Student's t on both sides, a difference is beyond chance.
CONFIDENCE = 0.95


@dataclass(frozen=True)
class Reading:
    """One line of the table: a setting of a claim, its figure over n seeds, and the claim's verdict.

    `experiment` is DVC's name of the run, which ends in a hash of all its params and of the code; `commit` has the code and the
    params.yaml that `overrides` change. std and n are None where there are no seeds to count.
    """

    name: str
    claim: str
    setting: str
    overrides: str
    figure: str
    better: str
    mean: float
    std: float | None
    n: int | None
    verdict: str
    commit: str
    experiment: str

    @property
    def measure(self) -> str:
        """What is measured, in words; of faces on the clean protocol where nothing else is said."""
        protocol = " of the report protocol" if ".report." in self.figure else ""
        return self.figure.rpartition(".")[2].replace("_", " ") + protocol

    @property
    def percent(self) -> bool:
        """Whether the figure is a share of 1 that people read in percent."""
        return self.figure.endswith(SHARES)

    @property
    def spread(self) -> str:
        """Mean and standard deviation in words, shares in percent."""
        numbers = [self.mean] if self.std is None else [self.mean, self.std]
        text = " ± ".join(f"{100 * number if self.percent else number:.2f}" for number in numbers)
        return f"{text}{' %' if self.percent else ''}"

    @property
    def value(self) -> str:
        """The same with the number of seeds."""
        return self.spread + (f" (n = {self.n})" if self.n else "")


COLUMNS = [field.name for field in fields(Reading)]


def verdict(figures: Sequence[dict[str, Any] | None], better: str) -> str:
    """Whether figures get better from each to the next; None is one that is not known.

    Confirmed if each difference is beyond chance (see `direction`), refuted if one goes the other way beyond chance, else open,
    as where there are fewer than two seeds.
    """
    directions = [direction(before, after) * (1 if better == "higher" else -1) for before, after in pairwise(figures)]
    if min(directions) < 0:
        return REFUTED
    return CONFIRMED if min(directions) > 0 else OPEN


def direction(before: dict[str, Any] | None, after: dict[str, Any] | None) -> int:
    """1 where the second figure is higher than the first beyond chance, -1 where it is lower, 0 where that can't be told."""
    return beyond_chance(*(difference(before, after) or (0.0, 0.0)))


def beyond_chance(value: float, margin: float) -> int:
    """1 where a difference lies above its margin of chance, -1 where it lies as far below 0, else 0."""
    return (value > margin) - (value < -margin)


def difference(before: dict[str, Any] | None, after: dict[str, Any] | None) -> tuple[float, float] | None:
    """By how much the second figure is higher than the first, and the margin above which that is beyond chance; None where either
    is unknown or has fewer than two seeds, or where seeds don't differ at all, which says nothing of chance.

    Beyond chance is what Welch's t-test (Welch 1947) of the means over the seeds says with a confidence of CONFIDENCE: the margin
    is the difference's standard error times Student's t, which for three seeds each is 2.8 where they spread alike and up to 4.3
    where they don't.
    """
    if not before or not after or not before["n"] or not after["n"] or min(before["n"], after["n"]) < 2:
        return None
    value = after["mean"] - before["mean"]
    squares = [figure["std"] ** 2 / figure["n"] for figure in (before, after)]
    if not (total := sum(squares)):
        return None
    # Here, since few need it.
    from scipy.special import stdtrit

    freedom = total**2 / sum(square**2 / (figure["n"] - 1) for square, figure in zip(squares, (before, after), strict=True))
    return value, float(stdtrit(freedom, (1 + CONFIDENCE) / 2)) * sqrt(total)


def gains(claim: Sequence[Reading]) -> list[tuple[str, float, float]]:
    """From each setting of a claim to the next that can be compared with it: both in words, by how much the figure gets better,
    and the margin above which that is beyond chance, shares in percent."""
    found = []
    for before, after in pairwise(claim):
        if known := difference(vars(before), vars(after)):
            scale = 100 if after.percent else 1
            sign = scale if after.better == "higher" else -scale
            found.append((f"{before.setting} → {after.setting}".replace("_", " "), sign * known[0], scale * known[1]))
    return found


def read(path: str | Path = PATH) -> list[Reading]:
    """The table's lines, none where there is no table; UserError where it is not one that `write` has written."""
    try:
        return [_reading(row) for row in rows(path, COLUMNS)]
    except ValueError as error:
        raise UserError(f"{path} is not what `make ablation` writes ({error}): `git checkout {path}` brings it back") from None


def rows(path: str | Path, columns: list[str]) -> list[dict[str, str]]:
    """The lines of a CSV table by column, none where there is no file; ValueError where it has other columns."""
    if not Path(path).is_file():
        return []
    with Path(path).open(encoding="utf-8", newline="") as file:
        head, *lines = csv.reader(file)
    if head != columns:
        raise ValueError(f"columns {', '.join(head)}")
    return [dict(zip(columns, line, strict=True)) for line in lines]


def _reading(cells: dict[str, str]) -> Reading:
    if cells["verdict"] not in VERDICTS:
        raise ValueError(f"verdict {cells['verdict'][:60]!r}")
    std, n = (kind(cells[name]) if cells[name] else None for kind, name in ((float, "std"), (int, "n")))
    return Reading(**cells | {"mean": float(cells["mean"]), "std": std, "n": n})


def write(readings: Iterable[Reading], path: str | Path = PATH) -> None:
    """Write the table, with its head alone where there are no readings."""
    with replacing(path) as temporary, temporary.open("w", encoding="utf-8", newline="") as file:
        table = csv.DictWriter(file, COLUMNS, lineterminator="\n")
        table.writeheader()
        table.writerows(map(asdict, readings))


def finished(readings: Iterable[Reading]) -> list[list[Reading]]:
    """The lines of each claim that has all its figures; the others say nothing yet."""
    return [claim for claim in by_claim(readings) if claim[0].verdict != UNFINISHED]


def by_claim(readings: Iterable[Reading]) -> list[list[Reading]]:
    """The lines of each claim as it stands, in the table's order."""
    present = (reading for reading in readings if reading.verdict != SUPERSEDED)
    return [list(group) for _, group in groupby(present, lambda reading: reading.name)]
