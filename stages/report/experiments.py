"""Results of experiments, branches, commits and the workspace: their params, figures and pictures, out of git or from here."""

import base64
import json
import re
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from stages.runtime.errors import UserError

WORKSPACE = "workspace"
PARAMS, METRICS, PICTURES = "params.yaml", "metrics/summary.json", "plots"
SPREAD = {"mean", "std", "n"}


@dataclass(frozen=True)
class Result:
    """One experiment: its params and figures by dotted name, and its pictures as data URIs by file name.

    A figure is {mean, std, n}; std and n are None where there are no seeds to count.
    """

    name: str
    params: dict[str, Any]
    figures: dict[str, dict[str, Any]]
    pictures: dict[str, str]


def read(name: str) -> Result:
    """One result, out of git or the workspace; UserError where there is none of this name or it holds no figures."""
    commit = None if name == WORKSPACE else revision(name)
    try:
        params = yaml.safe_load(content(commit, PARAMS))
        found = figures(commit)
    except (ValueError, yaml.YAMLError) as error:
        raise UserError(f"{name}: {PARAMS} or {METRICS} is damaged ({str(error)[:200]})") from None
    pictures = {Path(path).stem: as_uri(content(commit, path)) for path in listed(commit)}
    return Result(name, flat(params), found, pictures)


def figures(commit: str | None) -> dict[str, dict[str, Any]]:
    """All figures of a commit, or from here, by dotted name; ValueError where they are no JSON."""
    found = flat(json.loads(content(commit, METRICS)))
    return {key: spread(value) for key, value in found.items() if isinstance(value, int | float | dict)}


def spread(value: float | dict[str, Any]) -> dict[str, Any]:
    """A figure over seeds as it is, a plain number as the mean of what is not known."""
    return value if isinstance(value, dict) else {"mean": value, "std": None, "n": None}


def known() -> list[tuple[str, str]]:
    """Name and commit of every experiment, which DVC keeps below refs/exps; names need not differ."""
    lines = git("for-each-ref", "--format=%(objectname) %(refname)", "refs/exps").decode().splitlines()
    return [(line.rpartition("/")[2], line.split()[0]) for line in lines if line.count("/") == 4]


def revision(name: str) -> str:
    """The commit of an experiment, or of whatever else git knows by this name."""
    if re.fullmatch(r"[\w.@/~^-]+", name) and not name.startswith("-"):
        found = {commit for experiment, commit in known() if experiment == name}
        if len(found) > 1:
            raise UserError(f"{name!r} names {len(found)} experiments: name their commits, which `dvc exp show` lists")
        asked = ("rev-parse", "--verify", "--quiet", f"{name}^{{commit}}")
        commit = found.pop() if found else git(*asked, perhaps=True).decode().strip()
        if commit:
            return commit
    raise UserError(f"{name!r} is no experiment, branch or commit here: `dvc exp show` lists the experiments")


def content(commit: str | None, path: str) -> bytes:
    """A file's bytes in a commit, or here."""
    if commit is None:
        return Path(path).read_bytes()
    found = git("cat-file", "blob", f"{commit}:{path}", perhaps=True)
    if not found:
        raise UserError(f"{commit[:7]} has no {path}: only runs of the whole pipeline can be compared")
    return found


def listed(commit: str | None) -> list[str]:
    """The paths of a result's pictures."""
    if commit is None:
        return sorted(path.as_posix() for path in Path(PICTURES).glob("*.png"))
    names = git("ls-tree", "-z", "--name-only", commit, f"{PICTURES}/").decode().split("\0")
    return [name for name in names if name.endswith(".png")]


def git(*words: str, perhaps: bool = False) -> bytes:
    """What git printed; UserError with its words where it fails, but nothing if what it is asked for is there only `perhaps`."""
    command = ["git", *words]
    try:
        return subprocess.run(command, capture_output=True, timeout=60, check=True).stdout
    except subprocess.CalledProcessError as error:
        if perhaps:
            return b""
        said = error.stderr.decode(errors="replace").splitlines() or [f"exit code {error.returncode}"]
        raise UserError(f"git {words[0]}: {next((line for line in said if line.startswith('fatal:')), said[0])}") from None
    except (OSError, subprocess.TimeoutExpired) as error:
        raise UserError(f"git {words[0]}: {error}") from None


def flat(value: Any, prefix: str = "") -> dict[str, Any]:
    """Nested mappings as one, with dotted names; lists, and a mean with its std and n, are values."""
    if not isinstance(value, dict) or set(value) == SPREAD:
        return {prefix: value}
    found = {}
    for key, below in value.items():
        found |= flat(below, f"{prefix}.{key}" if prefix else str(key))
    return found


def as_uri(png: bytes) -> str:
    """A PNG file as data URI."""
    return f"data:image/png;base64,{base64.b64encode(png).decode()}"
