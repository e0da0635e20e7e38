"""Write report/compare.html: results side by side, with the params that differ, all figures, and the pictures.

The environment's EXPS names them, with spaces between: names of experiments (`dvc exp show`), branches or commits, and
`workspace` for what is here now. `make compare EXPS="a b"` does it.

    EXPS="NAME workspace" python -m stages.report.compare
"""

import base64
import json
import os
import re
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from stages.report.comparison import Spread
from stages.report.render import write
from stages.runtime.errors import UserError
from stages.runtime.stage import run

WORKSPACE = "workspace"
PARAMS, METRICS, PICTURES = "params.yaml", "metrics/summary.json", "plots"
ABSENT = "–"
SPREAD = {"mean", "std", "n"}
# Figures of which more, or less, is better; of the others, such as a floor, neither is.
MORE = {"accuracy", "oracle_dev_accuracy", "judge_accuracy", "test_accuracy", "precision", "recall", "cs", "is", "is_torchvision"}
LESS = {"fd", "fid", "kid"}


@dataclass(frozen=True)
class Result:
    """One experiment: its params and figures by dotted name, and its pictures as data URIs by file name.

    A figure is {mean, std, n}; std and n are None where there are no seeds to count.
    """

    name: str
    params: dict[str, Any]
    figures: dict[str, Spread]
    pictures: dict[str, str]


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


def read(name: str) -> Result:
    """One result, out of git or the workspace; UserError where there is none of this name or it holds no figures."""
    commit = None if name == WORKSPACE else revision(name)
    try:
        params = yaml.safe_load(content(commit, PARAMS))
        figures = json.loads(content(commit, METRICS))
    except (ValueError, yaml.YAMLError) as error:
        raise UserError(f"{name}: {PARAMS} or {METRICS} is damaged ({str(error)[:200]})") from None
    pictures = {Path(path).stem: as_uri(content(commit, path)) for path in listed(commit)}
    spreads = {key: spread(value) for key, value in flat(figures).items() if isinstance(value, int | float | dict)}
    return Result(name, flat(params), spreads, pictures)


def spread(value: float | Spread) -> Spread:
    """A figure over seeds as it is, a plain number as the mean of what is not known."""
    return value if isinstance(value, dict) else {"mean": value, "std": None, "n": None}


def verdict(name: str, difference: float) -> str:
    """Whether a figure that differs by so much is better or worse; empty where that can't be told."""
    measure = name.rpartition(".")[2]
    if not difference or measure not in MORE | LESS:
        return ""
    return "better" if (difference < 0) == (measure in LESS) else "worse"


def revision(name: str) -> str:
    """The commit of an experiment, which DVC keeps below refs/exps, or of whatever else git knows by this name."""
    if re.fullmatch(r"[\w.@/~^-]+", name) and not name.startswith("-"):
        known = git("for-each-ref", "--format=%(objectname) %(refname)", "refs/exps").decode().splitlines()
        found = {line.split()[0] for line in known if line.endswith(f"/{name}") and line.count("/") == 4}
        if len(found) > 1:
            raise UserError(f"{name!r} names {len(found)} experiments: name their commits, which `dvc exp show` lists")
        commit = found.pop() if found else git("rev-parse", "--verify", "--quiet", f"{name}^{{commit}}").decode().strip()
        if commit:
            return commit
    raise UserError(f"{name!r} is no experiment, branch or commit here: `dvc exp show` lists the experiments")


def content(commit: str | None, path: str) -> bytes:
    """A file's bytes in a commit, or here."""
    if commit is None:
        return Path(path).read_bytes()
    found = git("cat-file", "blob", f"{commit}:{path}")
    if not found:
        raise UserError(f"{commit[:7]} has no {path}: only runs of the whole pipeline can be compared")
    return found


def listed(commit: str | None) -> list[str]:
    """The paths of a result's pictures."""
    if commit is None:
        return sorted(path.as_posix() for path in Path(PICTURES).glob("*.png"))
    names = git("ls-tree", "-z", "--name-only", commit, f"{PICTURES}/").decode().split("\0")
    return [name for name in names if name.endswith(".png")]


def git(*words: str) -> bytes:
    """What git printed; nothing where it fails."""
    command = ["git", *words]
    try:
        return subprocess.run(command, capture_output=True, timeout=60, check=True).stdout
    except (OSError, subprocess.SubprocessError):
        return b""


def flat(value: Any, prefix: str = "") -> dict[str, Any]:
    """Nested mappings as one, with dotted names; lists, and a mean with its std and n, are values."""
    if not isinstance(value, dict) or set(value) == SPREAD:
        return {prefix: value}
    found = {}
    for key, below in value.items():
        found |= flat(below, f"{prefix}.{key}" if prefix else str(key))
    return found


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


def as_uri(png: bytes) -> str:
    """A PNG file as data URI."""
    return f"data:image/png;base64,{base64.b64encode(png).decode()}"


if __name__ == "__main__":
    run(main)
