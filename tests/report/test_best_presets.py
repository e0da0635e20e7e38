"""The presets `best` and `best_packaged` are the presets that they come from, done better: the same study, more of it."""

import re
from functools import reduce
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.nn import functional as F

from stages.adaptation.losses import difference_loss
from stages.adaptation.networks import DSN
from stages.generation import losses
from stages.report import claims
from stages.runtime import params, schema

ROOT = Path(__file__).resolve().parents[2]
# Params in which both differ from `paper`.
BOTH = {
    "adaptation.methods",
    "stylegan2.network.minibatch_stddev",
    "stylegan2.train.loss",
    "stylegan2.train.penalty",
    "stylegan2.train.augment",
    "stylegan2.train.ada_target",
    "stylegan2.train.initial_contrast",
    "stylegan2.train.penalty_scaled",
    "stylegan2.train.ema",
    "stylegan2.sample.mean_style",
    "acgan.train.objective",
    "acgan.train.fake_class_weight",
    "acgan.train.batch_norm_eps",
    "acgan.sample.batch_norm",
    "acgan.train.lr_decay",
    "acgan.train.ema_decay",
    "acgan.train.fit",
    "acgan.sample.form",
}
INGREDIENTS = {
    "best": BOTH | {"stylegan2.train.path_length_scaled"},
    "best_packaged": BOTH | {"acgan.train.generator_class_weight"},
}
# What must have a claim, whether README's table of ingredients has it or not.
REPORTED = {
    "adaptation.pairs.mfeat-syn.source_augment",
    "adaptation.pairs.syn-mnistm.max_source",
    "adaptation.dann.steps",
    "adaptation.dsn.steps",
    "stylegan2.network.attention_layers",
    "stylegan2.network.capacity",
    "stylegan2.network.minibatch_stddev",
    "stylegan2.train.loss",
    "stylegan2.train.penalty",
    "stylegan2.train.penalty_scaled",
    "stylegan2.train.path_length_weight",
    "stylegan2.train.augment",
    "stylegan2.train.ada_target",
    "stylegan2.train.ema",
    "stylegan2.train.ema_rampup",
    "stylegan2.sample.mean_style",
    "acgan.train.objective",
    "acgan.train.lr_decay",
    "acgan.train.ema_decay",
    "acgan.train.augment",
}


def preset(name: str) -> schema.Params:
    return params.load(ROOT / f"presets/{name}.yaml")


def value(content: schema.Params, key: str) -> Any:
    return reduce(getattr, key.split("."), content)


def beyond_the_study() -> dict[str, str]:
    """The params in README's table of what the study did without, each with the value that it names there, or an empty one."""
    section = (ROOT / "README.md").read_text().split("\n## Beyond the study\n")[1].split("\n## ")[0]
    part, found = "", {}
    for first, second in re.findall(r"^\| (?:(\w+) )?\| (`[^|]+) \|", section, re.MULTILINE):
        part = first or part
        for key, named in re.findall(r"`([a-z0-9_]+\.[a-z0-9_.]+)(?:: (\w+))?`", second):
            found[key if key.startswith("adaptation.") else f"{part.lower()}.{key}"] = named
    return found


def untrained_difference_loss(batch_size: int) -> float:
    """The sum of both domains' difference losses in DSN before its first step, on images of smooth noise."""
    torch.manual_seed(0)
    network, noise = DSN(), 2 * torch.rand(2 * batch_size, 3, 7, 7) - 1
    images = F.interpolate(noise, size=28, mode="bilinear").chunk(2)
    with torch.no_grad():
        privates = network.private_source(images[0]), network.private_target(images[1])
        return sum(map(difference_loss, privates, map(network.shared, images))).item()


@pytest.mark.parametrize(("name", "base"), [("best", "paper"), ("best_packaged", "laptop")])
def test_data_pairs_networks_and_measures_are_those_of_the_preset_that_it_comes_from(name, base):
    ours, theirs = preset(name), preset(base)
    assert ours.data == theirs.data and ours.evaluation == theirs.evaluation
    assert ours.stylegan2.network.capacity == theirs.stylegan2.network.capacity
    assert ours.stylegan2.network.attention_layers == theirs.stylegan2.network.attention_layers == [1]
    sides = [{pair: (of.source, of.target) for pair, of in one.adaptation.pairs.items()} for one in (ours, theirs)]
    assert sides[0] == sides[1] and len(sides[0]) == 3


@pytest.mark.parametrize(("name", "base"), [("best", "paper"), ("best_packaged", "laptop")])
def test_no_training_is_shorter_and_adaptation_has_three_seeds_and_every_method(name, base):
    ours, theirs = preset(name), preset(base)
    for part in ("stylegan2", "acgan"):
        assert getattr(ours, part).train.steps > getattr(theirs, part).train.steps
    adaptation = ours.adaptation
    assert adaptation.methods == ["source_only", "dann", "dsn", "mean_teacher"] and len(adaptation.seeds) == 3
    for method in (*adaptation.methods, "target_only"):
        assert getattr(adaptation, method).steps >= getattr(theirs.adaptation, method).steps


@pytest.mark.parametrize("name", ["best", "best_packaged"])
def test_the_study_s_slips_are_not_in_them(name):
    ours = preset(name)
    assert (ours.stylegan2.train.loss, ours.stylegan2.train.penalty) == ("non_saturating", "r1")
    assert ours.stylegan2.train.ema != "report" and "flip" in ours.stylegan2.train.augment
    assert (ours.acgan.train.objective, ours.acgan.train.batch_norm_eps) == ("logits", 1e-5)
    assert (ours.acgan.sample.batch_norm, ours.acgan.sample.form) == ("eval", "crop")
    # Lambda rises over the whole training.
    assert ours.adaptation.dann.steps == ours.adaptation.dann.lambda_steps
    assert ours.adaptation.dsn.steps == ours.adaptation.dsn.lambda_steps


def test_mean_teacher_has_its_publication_s_settings():
    adaptation = preset("best").adaptation
    assert (adaptation.common.batch_size, adaptation.common.lr) == (256, 1e-3)
    assert adaptation.mean_teacher.model_dump() == {
        **{"steps": 70_000, "width": 128, "ema_decay": 0.99, "confidence": 0.968, "consistency_weight": 3.0},
        **{"balance_weight": 0.005, "separate_batch_norm": True, "standardise": True},
        **{"intensity": True, "warp": True, "noise": 0.1, "lr_decay": 0.0},
    }


@pytest.mark.parametrize("name", INGREDIENTS)
def test_what_readme_has_beyond_the_study_is_in_them(name):
    ours, paper = preset(name), preset("paper")
    named = beyond_the_study()
    assert {key for key in named if value(ours, key) != value(paper, key)} == INGREDIENTS[name]
    forms = {key: form for key, form in named.items() if form}
    assert forms and {key: value(ours, key) for key in forms} == forms
    assert ours.stylegan2.train.penalty_weight > 0


def test_best_s_r1_is_as_strong_as_stylegan2_ada_s_rule_has_it():
    best = preset("best")
    size, batch = getattr(best.data.datasets, best.stylegan2.dataset).size, best.stylegan2.train.batch_size
    ours = torch.rand(3, 3, 4, 4, requires_grad=True)
    published = (2 * ours - 1).detach().requires_grad_()
    # Any discriminator of images in [-1, 1], as there.
    of_ours, of_published = ((2 * ours - 1).sin().flatten(1).sum(1), published.sin().flatten(1).sum(1))
    expected = 0.0002 * size**2 / batch * losses.gradient_penalty("r1", of_published, published)
    assert torch.allclose(best.stylegan2.train.penalty_weight * losses.gradient_penalty("r1", of_ours, ours), expected)


def test_best_s_difference_loss_weighs_as_much_as_the_study_s_in_spite_of_its_larger_batches():
    weighed = {}
    for name in ("best", "paper"):
        adaptation = preset(name).adaptation
        weighed[name] = adaptation.dsn.difference_weight * untrained_difference_loss(adaptation.common.batch_size)
    assert 1 / 1.5 < weighed["best"] / weighed["paper"] < 1.5
    assert 34 / 1.5 < untrained_difference_loss(256) / untrained_difference_loss(32) < 34 * 1.5


def test_every_ingredient_has_a_claim_with_and_without_it(monkeypatch):
    monkeypatch.chdir(ROOT)
    # Claims about methods read several in one run.
    no_ingredients = {"adaptation.methods", "adaptation.common.selection", "adaptation.images.oracle_dev"}
    fields = schema.MeanTeacher.model_fields.keys() - {"steps"}
    keys = (beyond_the_study().keys() | {f"adaptation.mean_teacher.{name}" for name in fields} | REPORTED) - no_ingredients
    tested = set()
    for claim in (claim for claim in claims.read() if claim.name != "everything"):
        changes = [
            dict(override.split("=", 1) for override in setting.overrides if "=" in override) for setting in claim.settings
        ]
        tested |= {key for change in changes for key in change if len({str(other.get(key)) for other in changes}) > 1}
    assert keys <= tested
