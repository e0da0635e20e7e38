"""metrics/readings.csv: test figures that were read of settings beside the claims', as far as they were kept."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

from stages.report.names import SHARES
from stages.report.verdicts import rows
from stages.runtime.errors import UserError

PATH = Path("metrics/readings.csv")
COLUMNS = ["preset", "commit", "run", "step", "figure", "value", "changes"]


@dataclass(frozen=True)
class Tried:
    """A preset with its changes at a commit ("" where that is not known), and what was read of it: the names of the figures, and
    of each run at a step the values by these names."""

    preset: str
    commit: str
    changes: str
    figures: list[str]
    rows: list[tuple[str, str, dict[str, str]]]


def read(path: str | Path = PATH) -> list[Tried]:
    """What was tried in the file's order, nothing where there is no file; UserError where it is another table."""
    try:
        return list(_tried(rows(path, COLUMNS)))
    except ValueError as error:
        raise UserError(f"{path} is no table of readings ({error}): `git checkout {path}` brings it back") from None


def _tried(lines: Iterable[dict[str, str]]) -> Iterator[Tried]:
    for key, group in groupby(lines, lambda line: (line["preset"], line["commit"], line["changes"])):
        found = []
        for (run, step), of_step in groupby(group, lambda line: (line["run"], line["step"])):
            found.append((run, step, {line["figure"]: _said(line["figure"], float(line["value"])) for line in of_step}))
        yield Tried(*key, list(dict.fromkeys(figure for *_, values in found for figure in values)), found)


def _said(figure: str, value: float) -> str:
    if figure.startswith(("regret.", "per_class.")) or figure.endswith(SHARES):
        return f"{100 * value:.2f}"
    return f"{value:.2f}" if abs(value) >= 0.1 else f"{value:.4f}"
