"""Time and memory that the stages left in .timings/, and where the results come from."""

import os
import platform
import subprocess
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

from stages.report.results import Study
from stages.runtime.errors import UserError
from stages.runtime.files import read_json

PACKAGES = ("torch", "numpy", "scipy", "scikit-learn", "pandas", "matplotlib", "altair", "dvc")
PARTS = ("data", "StyleGAN2", "ACGAN", "judge", "adaptation", "report")


@dataclass(frozen=True)
class Part:
    """The stages of one part of the study, each as (name, seconds, bytes)."""

    name: str
    stages: list[tuple[str, float, float]]

    @property
    def seconds(self) -> float:
        """Sum over the stages."""
        return sum(seconds for _, seconds, _ in self.stages)

    @property
    def peak_bytes(self) -> float:
        """The hungriest stage's memory."""
        return max(peak for _, _, peak in self.stages)


def read_timings(study: Study) -> list[Part]:
    """The parts of the study whose stages were timed; stages that the params don't name, and unreadable files, are left out."""
    parts: dict[str, list[tuple[str, float, float]]] = {}
    folder = Path(os.environ.get("TIMINGS_DIR", ".timings"))
    for name in stage_names(study):
        try:
            timing = read_json(folder / f"{name}.json")
            row = (name, float(timing["seconds"]), float(timing["peak_bytes"]))
        except (UserError, ValueError, TypeError, KeyError):
            continue
        parts.setdefault(part_of(name), []).append(row)
    return [Part(name, parts[name]) for name in PARTS if name in parts]


def stage_names(study: Study) -> list[str]:
    """The names that the stages of this study give their timings, in the order of the graph."""
    methods, pairs, datasets = study.all_methods, study.pairs, sorted(study.datasets.model_fields_set)
    return [
        *(f"data.fetch-{name}" for name in (*datasets, *study.extractors)),
        *(f"data.prepare-{name}" for name in datasets),
        *(f"data.import_folder-{name}" for name in study.folders),
        *(f"data.pair-{pair}" for pair in pairs),
        *(
            f"{stage}-{seed}"
            for seed in study.stylegan2_seeds
            for stage in ("generation.train_stylegan2", "generation.sample_stylegan2")
        ),
        *(f"evaluation.statistics-{name}" for name in study.extractors),
        *(f"evaluation.evaluate_stylegan2-{seed}-{name}" for seed in study.stylegan2_seeds for name in study.extractors),
        *(f"evaluation.neighbours-{seed}-{study.extractors[0]}" for seed in study.stylegan2_seeds),
        "evaluation.train_judge",
        *(
            f"{stage}-{seed}"
            for seed in study.acgan_seeds
            for stage in ("generation.train_acgan", "generation.sample_acgan", "evaluation.evaluate_acgan")
        ),
        *(
            f"adaptation.{stage}-{pair}-{method}-{seed}"
            for pair in pairs
            for method in methods
            for seed in study.seeds
            for stage in ("train", "evaluate")
        ),
        *(f"adaptation.embed-{pair}-{method}" for pair in pairs for method in study.methods),
        *(f"{room}.describe" for room in ("generation", "adaptation", "evaluation")),
        "report.cards",
        "report.summarize",
    ]


def part_of(name: str) -> str:
    """The part of the study that a stage belongs to."""
    room, _, stage = name.partition(".")
    if stage == "describe":
        return "report"
    for word, part in (
        ("stylegan2", "StyleGAN2"),
        ("statistics", "StyleGAN2"),
        ("neighbours", "StyleGAN2"),
        ("acgan", "ACGAN"),
        ("judge", "judge"),
    ):
        if room in ("generation", "evaluation") and word in stage:
            return part
    return room


def provenance() -> dict[str, Any]:
    """Commit, machine and versions; what can't be told is left out."""
    facts = {"commit": _commit(), "Python": platform.python_version(), "machine": f"{platform.system()} {platform.machine()}"}
    facts["processors"] = f"{os.cpu_count()} x {_processor()}" if _processor() else str(os.cpu_count())
    gpus = _said("nvidia-smi", "--query-gpu=name", "--format=csv,noheader") or "none"
    facts["NVIDIA GPUs"] = "; ".join(gpus.splitlines())
    for package in PACKAGES:
        try:
            facts[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return {name: value for name, value in facts.items() if value}


def _commit() -> str | None:
    """The commit, and whether code or params differ from it; results that differ are what a run is for."""
    commit = _git("rev-parse", "--short=12", "HEAD")
    changed = _git("status", "--porcelain", "--", "stages", "params.yaml", "dvc.yaml")
    if changed is None and commit:
        return f"{commit}, perhaps with changes"
    return f"{commit}, with changes to code or params" if commit and changed else commit


def _processor() -> str:
    """The processor's name where Linux tells it."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return ""
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "")


def _git(*words: str) -> str | None:
    return _said("git", *words)


def _said(*command: str) -> str | None:
    """What a command printed; None where it is not here or fails."""
    words = list(command)
    try:
        done = subprocess.run(words, capture_output=True, text=True, timeout=30, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()
