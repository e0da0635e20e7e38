"""Trained models by the names of their runs."""

import re
from pathlib import Path

from stages.runtime.errors import UserError, not_among


def weights_of(run: str, form: str, trainers: dict[str, str]) -> tuple[Path, tuple[str, ...]]:
    """The weights file of a run, and the groups of the regular expression `form` that its name has to match.

    `trainers` names the stage of dvc.yaml by each run of the params. UserError where the run is none, or not trained yet.
    """
    path, match = Path("models") / run / "weights.safetensors", re.fullmatch(form, run)
    # Weights of a seed that the params have no more are as good as any.
    if match and path.is_file():
        return path, match.groups()
    if run in trainers:
        raise UserError(f"{path} is missing: run `dvc repro {trainers[run]}` first")
    raise UserError(f"there is no run {not_among(run, trainers)}")
