"""Every trainer of the study: two processes train to the weights of one, dropout, augmentation and all; and so do images that
are read from where they are."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from stages.adaptation import method
from stages.adaptation.train import make_batches
from stages.evaluation.train_judge import JudgeTraining
from stages.generation.augment import OPERATIONS
from stages.generation.train_acgan import ACGAN
from stages.generation.train_stylegan2 import Training as StyleGAN2Training
from stages.runtime import device, params
from stages.runtime.batches import Feed
from stages.runtime.seeding import seed_step
from stages.runtime.training import Trainable
from tests.parallel.together import TRAINING, assert_alike, together, trained_weights

pytestmark = pytest.mark.slow
SMOKE = params.load(Path(__file__).resolve().parents[2] / "presets/smoke.yaml")
# Of a trainer as it is, and in another of its forms: the latter end between two changes of what adapts to the training.
STEPS, STEPS_OF_FORMS = 20, 10
BATCH = {"batch_size": 8, "precision": "fp32"}
CPU = torch.device("cpu")


def images(seed: int, side: int = 28) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (40, side, side, 3), dtype=np.uint8)


LABELS = np.arange(40) % 10


def stylegan2(**changes: Any) -> Trainable:
    """On 8x8 images, with each term and each augmentation within the steps, the batch in two parts of two groups each."""
    network = {"latent_dim": 8, "capacity": 2, "fmap_max": 8, "attention_layers": [1], "attention_heads": 1}
    network |= {"minibatch_stddev": 2}
    use = {"accumulation": 2, "penalty_interval": 3, "path_length_start": 4, "path_length_interval": 4, "style_mixing": 0.5}
    use |= {"augment": list(OPERATIONS), **BATCH, **changes}
    assert SMOKE.stylegan2.train.penalty_weight > 0 and SMOKE.stylegan2.train.path_length_weight > 0
    network, settings = SMOKE.stylegan2.network.model_copy(update=network), SMOKE.stylegan2.train.model_copy(update=use)
    return StyleGAN2Training(images(0, 8), network, settings, TRAINING, 0, CPU)


def acgan(**changes: Any) -> Trainable:
    settings = SMOKE.acgan.train.model_copy(update={"fake_class_weight": 1.0, **BATCH, **changes})
    return ACGAN(images(0), LABELS, settings, 0, CPU, TRAINING)


def judge() -> Trainable:
    return JudgeTraining(images(0), LABELS, SMOKE.judge.model_copy(update=BATCH), CPU, TRAINING)


def adaptation(name: str, source_augment: str = "none", **changes: Any) -> Trainable:
    seed_step(0, "init")
    model = device.place(method.named(name)(), CPU)
    target = None if name in ("source_only", "target_only") else images(1)
    batches = make_batches(images(0), LABELS, target, BATCH["batch_size"], source_augment, 0, CPU, TRAINING)
    common, settings = SMOKE.adaptation.common, getattr(SMOKE.adaptation, name)
    model.start(batches, common.model_copy(update=BATCH), settings.model_copy(update=changes))
    return model


TRAINERS: dict[str, Callable[[], Trainable]] = {
    "stylegan2": stylegan2,
    "stylegan2, the report's forms": lambda: stylegan2(loss="hinge_inverted", penalty="one_centred", ema="report"),
    "stylegan2, scaled regularisers, average by half-life": lambda: stylegan2(
        penalty_scaled=True, path_length_scaled=True, ema="half_life", ema_half_life=40, ema_rampup=0.5
    ),
    "stylegan2, adaptive augmentation": lambda: stylegan2(ada_target=0.3, ada_images=100),
    "acgan": acgan,
    "acgan, the report's objective": lambda: acgan(objective="report"),
    "acgan, augmented": lambda: acgan(augment=[name for name in OPERATIONS if name != "flip"]),
    "judge": judge,
    "source_only": lambda: adaptation("source_only"),
    "source_only with a domain head": lambda: adaptation("source_only", "strong", lambda_steps=20),
    "target_only": lambda: adaptation("target_only", share=0.5),
    "dann": lambda: adaptation("dann", "jitter"),
    "dsn": lambda: adaptation("dsn"),
    # At this confidence the teacher is sure of some images and of others not.
    "mean_teacher": lambda: adaptation("mean_teacher", "jitter", confidence=0.175, balance_weight=0.5),
    "mean_teacher, one batch norm, images as they are": lambda: adaptation(
        "mean_teacher", separate_batch_norm=False, standardise=False, confidence=0.175, balance_weight=0.5
    ),
}


AS_THEY_ARE = [name for name in TRAINERS if name.isidentifier()]


@pytest.mark.parametrize("name", TRAINERS)
def test_two_processes_train_to_the_weights_of_one(name):
    assert_alike(TRAINERS[name], STEPS if name in AS_THEY_ARE else STEPS_OF_FORMS)


def weights_and_feeds(build: Callable[[], Trainable], steps: int) -> dict[str, torch.Tensor]:
    """The weights after so many steps, and which of the feeds read images from where they are, not from the device."""
    feeds, begin = [], Feed.__init__
    Feed.__init__ = lambda feed, *args, **options: feeds.append(feed) or begin(feed, *args, **options)
    weights = trained_weights(build, steps)
    return weights | {"streamed": torch.tensor([feed.resident is None for feed in feeds])}


@pytest.mark.parametrize("name", AS_THEY_ARE)
def test_images_beyond_the_budget_train_to_the_same_weights(name, monkeypatch):
    [resident] = together(1, weights_and_feeds, TRAINERS[name], 2)
    monkeypatch.setenv("RESIDENT_GB", "0")
    [streamed] = together(1, weights_and_feeds, TRAINERS[name], 2)
    feeds = [resident.pop("streamed"), streamed.pop("streamed")]
    assert len(feeds[0]) and not feeds[0].any() and feeds[1].all()
    assert all(torch.equal(resident[weights], streamed[weights]) for weights in resident.keys() | streamed.keys())


def test_adaptive_augmentation_is_at_work_where_two_processes_are_compared():
    model = TRAINERS["stylegan2, adaptive augmentation"]()
    for step in range(1, STEPS_OF_FORMS + 1):
        seed_step(0, step)
        model.update(step)
    assert model.ada.p > 0 and model.ada.signs != 0


@pytest.mark.parametrize("name", [name for name in TRAINERS if "mean_teacher" in name])
def test_the_teacher_is_sure_of_more_images_in_one_of_two_processes_than_in_the_other(name):
    """As where it is sure of an odd number."""
    model, sure = TRAINERS[name](), []
    for step in range(1, STEPS_OF_FORMS + 1):
        seed_step(0, step)
        sure.append(model.update(step)["confident_share"].item() * BATCH["batch_size"])
    assert all(0 < number < BATCH["batch_size"] for number in sure) and any(number % 2 == 1 for number in sure)


def test_every_trainer_is_compared():
    assert set(AS_THEY_ARE) == {"stylegan2", "acgan", "judge", *method.METHODS}
