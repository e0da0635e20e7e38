"""A stage waits for no library that it doesn't use: torch alone takes seconds to import."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
# Libraries that take a tenth of a second or more, and torch's compiler.
HEAVY = {
    *("torch", "torch._dynamo", "torchvision", "lightning_fabric", "efficientnet_lite_pytorch", "pytorch_fid"),
    *("pandas", "scipy", "sklearn", "skimage", "matplotlib", "altair", "vl_convert", "requests", "pooch"),
}
WITHOUT_TORCH = {
    "runtime.params": set(),
    "data.fetch": set(),
    "data.prepare": set(),
    "data.import_folder": set(),
    "data.pair": set(),
    "report.summarize": {"matplotlib", "pandas"},
    "report.cards": set(),
    "report.page": {"altair", "pandas", "vl_convert"},
    # What users type: torch comes when there is something to compute.
    "generation.sample": set(),
    "adaptation.predict": set(),
    "report.ablation": set(),
}
WITH_TORCH = {
    "adaptation.describe": set(),
    "adaptation.train": set(),
    "adaptation.evaluate": set(),
    "adaptation.embed": {"pandas"},
    "evaluation.describe": set(),
    "evaluation.train_judge": set(),
    "evaluation.statistics": {"scipy"},
    "evaluation.evaluate_stylegan2": {"scipy"},
    "evaluation.evaluate_acgan": {"scipy"},
    "evaluation.neighbours": set(),
    "generation.describe": set(),
    "generation.train_stylegan2": set(),
    "generation.sample_stylegan2": set(),
    "generation.train_acgan": set(),
    "generation.sample_acgan": set(),
}


def test_every_stage_is_listed_here():
    commands = re.findall(r"python -m stages\.([\w.]+)", (ROOT / "dvc.yaml").read_text())
    typed = {"runtime.params", "generation.sample", "adaptation.predict", "report.ablation"}
    assert {*commands, *typed} == {*WITHOUT_TORCH, *WITH_TORCH}


def imported(stages: list[str], before: str) -> dict[str, set[str]]:
    """The heavy libraries that each stage imports, besides those that `before` imports once for all."""
    code = f"""
import importlib, os, sys
import {before}
for stage in {stages!r}:
    if not os.fork():
        importlib.import_module("stages." + stage)
        print(stage, *({HEAVY!r} & set(sys.modules)), flush=True)
        os._exit(0)
    assert os.wait()[1] == 0, stage
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return {stage: set(names) for stage, *names in map(str.split, done.stdout.splitlines())}


@pytest.mark.parametrize(("stages", "before"), [(WITHOUT_TORCH, "numpy"), (WITH_TORCH, "torch")], ids=["without", "with"])
def test_a_stage_imports_no_heavy_library_that_it_does_not_use(stages, before):
    found = imported(list(stages), before)
    assert found.keys() == stages.keys()
    for stage, names in stages.items():
        assert found[stage] <= {before, *names}, stage
