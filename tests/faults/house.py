"""A folder in which the whole graph has been built once, undisturbed, from tiny made-up images and the smoke preset."""

import functools
import hashlib
import os
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

import yaml

from stages.runtime.schema import MethodName
from tests.faults.server import Ended, Server
from tests.pipeline.clone import Clone
from tests.pipeline.folders import draw_digits, draw_faces, of_folders

# The page alone may differ from run to run: it shows times.
EXEMPT = "page"
# As few steps as give every part of a training its turn: penalties, path length, both parts of a batch, late losses. Adaptive
# augmentation's target is low, so that its p rises at the first chance, step 4.
FEW_STEPS = {
    "stylegan2.train": {
        **{"steps": 7, "batch_size": 4, "penalty_interval": 2, "path_length_start": 2, "path_length_interval": 2},
        **{"ema": "half_life", "ada_target": 0.05, "ada_images": 40},
    },
    "stylegan2.network": {"minibatch_stddev": 2},
    "judge": {"steps": 12, "batch_size": 16},
    "acgan.train": {"fit": "pad", "augment": ["translation"]},
    "acgan.sample": {"form": "crop"},
    "adaptation.images": {"oracle_dev": 5},
    "adaptation": {"methods": list(get_args(MethodName))},
    "adaptation.common": {"selection": "target_entropy"},
    "adaptation.source_only": {"steps": 8},
    "adaptation.target_only": {"steps": 8},
    "adaptation.dann": {"steps": 8, "lambda_steps": 8},
    "adaptation.dsn": {"steps": 6, "lambda_steps": 6, "similarity_start": 2},
    "adaptation.mean_teacher": {"steps": 6, "width": 4},
}
FEW_IMAGES = {
    "stylegan2.sample": {"mean_style": "tracked", "report": {"count": 8, "psi": 0.75}, "clean": {"count": 8, "psi": 1.0}},
    "evaluation.metrics": {"neighbours": 2, "splits": 2, "kid_subsets": 2, "kid_subset_size": 4},
    "embedding": {"points": 10, "perplexity": 5.0},
}
UNSEEN = {".git", ".dvc", ".timings", ".resume", "__pycache__", "dvc.lock"}


@dataclass(frozen=True)
class Stage:
    """One stage of the graph, e.g. `adapt@mydigits-mfeat-dann-0`."""

    name: str
    words: tuple[str, ...]
    outs: tuple[str, ...]
    trains: bool

    @property
    def kind(self) -> str:
        return self.name.split("@")[0]


class House:
    """`stages` in the order of the graph, `sound` the hash of every file they leave; `counts` and `seconds` of each."""

    def __init__(self, folder: Path) -> None:
        clone = Clone(folder / "house")
        self.folder, self.clone, self.copy = clone.folder, clone, folder / "copy"
        faces, digits = draw_faces(folder / "myfaces", 12, 8), draw_digits(folder / "mydigits", 60, 30)
        params = of_folders(yaml.safe_load((self.folder / "params.yaml").read_text()), faces, digits)
        smoke = yaml.safe_load((self.folder / "presets/smoke.yaml").read_text())
        params["data"]["datasets"]["syn"] = smoke["data"]["datasets"]["syn"] | {"train": 20, "test": 10}
        for keys, changes in (FEW_STEPS | FEW_IMAGES).items():
            functools.reduce(dict.__getitem__, keys.split("."), params).update(changes)
        (self.folder / "params.yaml").write_text(yaml.safe_dump(params, sort_keys=False))
        self.stages = [stage for stage in graph(self.folder) if stage.kind != EXEMPT]
        self.server = Server(self.folder)
        self.kills = 0
        self.counts, self.seconds = {}, {}
        for stage in self.stages:
            began = time.monotonic()
            ended = self.run(stage, {"count": "calls" if stage.trains else "files"})
            assert ended.status == 0, f"{stage.name}: {ended.output}"
            self.counts[stage], self.seconds[stage] = ended.counts, time.monotonic() - began
        self.sound = self.files()
        shutil.copytree(self.folder, self.copy, ignore=shutil.ignore_patterns(*UNSEEN))

    def run(self, stage: Stage, plan: dict | None = None, **options: float) -> Ended:
        """Run one stage as it would be run by hand, in a child of the server."""
        return self.server.run(self.folder, list(stage.words), plan, **options)

    def remove_outs(self, stage: Stage) -> None:
        """What dvc does before it runs a stage."""
        for out in stage.outs:
            path = self.folder / out
            shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)

    def finished(self, stage: Stage) -> bool:
        """Whether a training has all outs, which are its whole work once no state waits for it."""
        return not self.states() and all((self.folder / out).exists() for out in stage.outs)

    def files(self) -> dict[str, str]:
        """SHA-256 of every file in the folder but those that are git's and dvc's own, times and resume states."""
        found = {}
        for folder, below, names in os.walk(self.folder):
            below[:] = [name for name in below if name not in UNSEEN]
            for path in (Path(folder, name) for name in names if name not in UNSEEN):
                found[str(path.relative_to(self.folder))] = hashlib.sha256(path.read_bytes()).hexdigest()
        return found

    def restore(self) -> None:
        """Put everything back as it was at first; resume states go."""
        shutil.rmtree(self.folder / ".resume", ignore_errors=True)
        files = self.files()
        for name in files.keys() - self.sound.keys():
            (self.folder / name).unlink()
        for name in self.sound:
            if files.get(name) != self.sound[name]:
                (self.folder / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(self.copy / name, self.folder / name)

    def change_param(self, keys: str, value: object) -> None:
        """Write another value to params.yaml, until `restore`; `keys` are dotted."""
        path = self.folder / "params.yaml"
        content = yaml.safe_load(path.read_text())
        *groups, key = keys.split(".")
        group = functools.reduce(dict.__getitem__, groups, content)
        assert group[key] != value
        group[key] = value
        path.write_text(yaml.safe_dump(content, sort_keys=False))

    def by_hand(self, *words: str) -> subprocess.CompletedProcess:
        """Run `python -m stages.runtime.resume WORDS`."""
        command = [sys.executable, "-m", "stages.runtime.resume", *words]
        return subprocess.run(command, cwd=self.folder, capture_output=True, text=True, timeout=60)

    def states(self) -> list[Path]:
        """Folders of resume states, with whatever stands in their folder."""
        return sorted((self.folder / ".resume").glob("*"))

    def close(self) -> None:
        self.server.close()


def graph(folder: Path) -> list[Stage]:
    """Every stage of the dvc.yaml there, those first that others need."""
    # Late, since collecting the quick tests imports this file, too.
    import networkx
    from dvc.repo import Repo

    repo = Repo(str(folder))
    ordered = networkx.lexicographical_topological_sort(repo.index.graph.reverse(), key=lambda stage: stage.name)
    return [_stage(stage) for stage in ordered]


def _stage(stage: "dvc.stage.Stage") -> Stage:  # noqa: F821
    python, option, *words = stage.cmd.split()
    assert (python, option) == ("python", "-m"), f"{stage.name} is run by {stage.cmd}"
    outs = tuple(out.def_path for out in stage.outs)
    trains = any(dep.def_path == "stages/runtime/resume.py" for dep in stage.deps) and any(
        out.endswith("weights.safetensors") for out in outs
    )
    return Stage(stage.name, tuple(words), outs, trains)
