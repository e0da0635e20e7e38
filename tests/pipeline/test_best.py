"""The whole graph with the settings of the preset `best`, in small: on packaged images, with the smoke preset's sizes."""

import csv
import math
import re
from typing import Any

import pytest
import yaml

from tests.pipeline.clone import ROOT, Clone

pytestmark = pytest.mark.slow
# What stays the smoke preset's: which images there are, how many are seen, drawn and compared, how large networks are, from which
# step on DSN adapts, and how sure an untrained teacher must be.
SIZES = re.compile(
    r"^(data|judge|embedding|evaluation|adaptation\.pairs)$|\.(dataset|seeds|count|per_class|mean_latents|snapshots)$"
    r"|\.(latent_dim|capacity|fmap_max|attention_heads|width|batch_size|steps|lambda_steps|similarity_start|confidence)$"
)


def best_in_small(smoke: Any, best: Any, key: str = "") -> Any:
    """The params of `smoke` with those values of `best` that SIZES does not name."""
    if SIZES.search(key):
        return smoke
    if isinstance(smoke, dict):
        return {name: best_in_small(smoke[name], best[name], f"{key}.{name}".lstrip(".")) for name in smoke}
    return best


def content(name: str) -> dict[str, Any]:
    return yaml.safe_load((ROOT / f"presets/{name}.yaml").read_text())


@pytest.fixture(scope="module")
def clone(tmp_path_factory):
    clone = Clone(tmp_path_factory.mktemp("clone"))
    (clone.folder / "params.yaml").write_text(yaml.safe_dump(best_in_small(content("smoke"), content("best"))))
    clone.ran = clone.make_repro()
    return clone


def test_every_stage_runs_and_a_second_time_none(clone):
    stages = yaml.safe_load((clone.folder / "dvc.yaml").read_text())["stages"]
    assert {name.split("@")[0] for name in clone.ran} == set(stages) - {"import"}
    assert clone.repro() == set()


def test_every_loss_and_every_figure_is_a_number(clone):
    histories = sorted((clone.folder / "results").glob("*/history.csv"))
    assert len(histories) == 8
    for path in histories:
        rows = list(csv.DictReader(path.open()))
        assert rows and all(math.isfinite(float(value)) for row in rows for value in row.values() if value), path
    faces = list(csv.DictReader((clone.folder / "results/stylegan2-0/history.csv").open()))
    for name in ("penalty", "path_length", "ada_sign"):
        assert any(row[name] and float(row[name]) for row in faces), name
    summary = clone.summary()
    assert set(summary["adaptation"]["mnistm-mfeat"]) == {"source_only", "dann", "dsn", "mean_teacher", "target_only"}
    assert summary["stylegan2"]["clean"]["efficientnet_lite0"]["fd"]["mean"] > 0


def test_the_page_shows_best_s_params(clone):
    assert "path_length_scaled: true" in (clone.folder / "report/index.html").read_text()
