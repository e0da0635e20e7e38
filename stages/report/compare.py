"""Write report/compare.html: results side by side, with the params that differ, all figures, and the pictures.

The environment's EXPS names them, with spaces between: names of experiments (`dvc exp show`), branches or commits, and
`workspace` for what is here now. `make compare EXPS="a b"` does it.

    EXPS="NAME HEAD" python -m stages.report.compare
"""

import os
from typing import Any

from stages.report.experiments import read
from stages.report.render import write
from stages.runtime.errors import UserError
from stages.runtime.stage import run

ABSENT = "–"
# Figures of which more, or less, is better; of the others, such as a floor, neither is.
MORE = {"accuracy", "oracle_dev_accuracy", "judge_accuracy", "test_accuracy", "precision", "recall", "cs", "is", "is_torchvision"}
LESS = {"fd", "fid", "kid"}


def main() -> None:
    names = list(dict.fromkeys(os.environ.get("EXPS", "").split()))
    if len(names) < 2:
        raise UserError('name two or more results: make compare EXPS="a b"; `dvc exp show` lists them, workspace is what is here')
    results = [read(name) for name in names]
    content = {
        "names": names,
        "verdict": verdict,
        "params": differing([result.params for result in results]),
        **split("figures", table([result.figures for result in results])),
        **split("pictures", table([result.pictures for result in results])),
    }
    write("report/compare.html", "compare.html", content)
    print("Open report/compare.html.")


def verdict(name: str, difference: float) -> str:
    """Whether a figure that differs by so much is better or worse; empty where that can't be told."""
    measure = name.rpartition(".")[2]
    if not difference or measure not in MORE | LESS:
        return ""
    return "better" if (difference < 0) == (measure in LESS) else "worse"


def table(columns: list[dict[str, Any]]) -> list[tuple[str, list[Any]]]:
    """By name in any of the columns, in their order, each column's value, None where it has none."""
    names = dict.fromkeys(name for column in columns for name in column)
    return [(name, [column.get(name) for column in columns]) for name in names]


def split(name: str, rows: list[tuple[str, list[Any]]]) -> dict[str, list[tuple[str, list[Any]]]]:
    """The rows in two lists: `name`, in which not all values are the same, and `same_NAME`."""
    found: dict[str, list[tuple[str, list[Any]]]] = {name: [], f"same_{name}": []}
    for label, values in rows:
        found[name if any(value != values[0] for value in values) else f"same_{name}"].append((label, values))
    return found


def differing(columns: list[dict[str, Any]]) -> list[tuple[str, list[str]]]:
    """The rows of the table in which not all values are the same, as words."""
    words = [{name: str(value) for name, value in column.items() if value != {}} for column in columns]
    return [(name, [value or ABSENT for value in row]) for name, row in table(words) if len(set(row)) > 1]


if __name__ == "__main__":
    run(main)
