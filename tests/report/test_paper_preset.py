"""The paper preset is the study, number by number. The numbers here are those of its description, written down once more."""

import math
from pathlib import Path

import pytest

from stages.runtime import params, schema

ROOT = Path(__file__).resolve().parents[2]
PATH = ROOT / "presets/paper.yaml"


@pytest.fixture(scope="module")
def paper() -> schema.Params:
    return params.load(PATH)


def strength(step: int, start: int, end: int) -> float:
    return 2 / (1 + math.exp(-10 * (step - start) / (end - start))) - 1


def test_data_are_the_publishers_own(paper):
    assert paper.data.datasets.model_dump(exclude_none=True) == {
        "celeba": {
            **{"source": "official", "crop_side": 128, "crop_x": 89, "crop_y": 121, "size": 64, "train": 40_000, "test": 2_621},
        },
        "mnistm": {"source": "official", "seed": 0},
        "svhn": {"source": "official"},
        "usps": {"source": "official"},
    }
    assert paper.data.folders == {} and paper.data.mirror is None


def test_stylegan2_networks(paper):
    assert paper.stylegan2.dataset == "celeba"
    assert paper.stylegan2.network.model_dump() == {
        **{"latent_dim": 512, "capacity": 16, "fmap_max": 512, "attention_layers": [1], "attention_heads": 8},
        **{"minibatch_stddev": 0},
    }


def test_stylegan2_training(paper):
    train = paper.stylegan2.train.model_dump()
    del train["snapshots"]
    # Of forms of average and augmentation that are not the study's.
    del train["ema_half_life"], train["ema_rampup"], train["ada_images"]
    assert train == {
        **{"steps": 66_000, "batch_size": 30, "accumulation": 6, "lr_generator": 2e-4, "lr_discriminator": 3e-4, "lr_decay": 0.0},
        **{"beta1": 0.5, "beta2": 0.9, "loss": "hinge_inverted", "penalty": "one_centred", "penalty_weight": 10.0},
        **{"penalty_interval": 4, "path_length_weight": 1.0, "path_length_interval": 32, "path_length_start": 5_000},
        **{"penalty_scaled": False, "path_length_scaled": False, "ada_target": None, "initial_contrast": 1.0},
        **{
            "path_length_decay": 0.99,
            "style_mixing": 0.9,
            "ema": "report",
            "ema_decay": 0.995,
            "augment": [],
            "precision": "fp32",
        },
    }


def test_the_preset_says_that_the_study_trained_on_and_scored_the_state_after_66_000_steps():
    lines = PATH.read_text().splitlines()
    comment = lines[lines.index("    steps: 66000") - 1]
    assert "68,000" in comment and "66,000" in comment
    assert 66_000 * 30 == 1_980_000


def test_stylegan2_samples_and_their_comparison(paper):
    sample = paper.stylegan2.sample
    assert sample.mean_style == "sampled"
    assert (sample.mean_latents, sample.report.count, sample.report.psi, sample.clean.psi) == (2_000, 1_000, 0.75, 1.0)
    assert sample.clean.count >= 10_000
    assert {"inception", "inception_torchvision"} <= set(paper.evaluation.extractors)
    assert paper.evaluation.metrics.splits == 10


def test_acgan(paper):
    train = paper.acgan.train.model_dump()
    del train["snapshots"], train["steps"]
    assert train == {
        **{"batch_size": 64, "lr_generator": 2e-4, "lr_discriminator": 2e-4, "lr_decay": 0.0, "beta1": 0.5, "beta2": 0.999},
        **{"ema_decay": 0.0, "objective": "report", "fake_class_weight": 1.0, "batch_norm_eps": 0.8, "precision": "fp32"},
        **{"augment": [], "fit": "resize", "generator_class_weight": 1.0},
    }
    assert paper.acgan.train.steps == 26 * 60_000 // 64
    assert paper.acgan.sample.model_dump() == {"per_class": 100, "batch_norm": "batch", "form": "report"}
    assert paper.acgan.dataset == paper.judge.dataset == "mnistm"


def test_adaptation_pairs_and_what_all_methods_share(paper):
    pairs = {name: pair.model_dump() for name, pair in paper.adaptation.pairs.items()}
    everything = {"max_source": None, "max_target": None}
    assert pairs == {
        "svhn-mnistm": {"source": "svhn", "target": "mnistm", "source_augment": "none"} | everything,
        "mnistm-usps": {"source": "mnistm", "target": "usps", "source_augment": "none"} | everything,
        "usps-svhn": {"source": "usps", "target": "svhn", "source_augment": "jitter"} | everything,
    }
    common = paper.adaptation.common.model_dump(exclude={"snapshots"})
    assert common == {"batch_size": 32, "lr": 1e-3, "beta1": 0.9, "beta2": 0.999, "precision": "fp32", "selection": "last"}
    assert paper.adaptation.images.validation == 0.25
    assert paper.adaptation.methods == ["source_only", "dann", "dsn"] and len(set(paper.adaptation.seeds)) == 3


def test_adaptation_methods(paper):
    adaptation = paper.adaptation
    assert adaptation.source_only.model_dump() == {"steps": 14_000, "lambda_steps": 100_000}
    assert adaptation.target_only.model_dump() == {"steps": 14_000, "lambda_steps": 100_000, "share": 0.75}
    assert adaptation.dann.model_dump() == {"steps": 14_000, "lambda_steps": 100_000}
    assert adaptation.dsn.model_dump() == {
        **{"steps": 29_000, "lambda_steps": 150_000, "similarity_start": 10_000, "weight_decay": 1e-6, "lr_decay": 0.9},
        **{"lr_decay_steps": 20_000, "reconstruction_weight": 0.015, "difference_weight": 0.075, "similarity_weight": 0.25},
    }


def test_lambda_at_the_last_step_is_the_studys(paper):
    dann, dsn = paper.adaptation.dann, paper.adaptation.dsn
    assert strength(dann.steps, 0, dann.lambda_steps) == pytest.approx(0.604, abs=5e-4)
    assert strength(dsn.steps, dsn.similarity_start, dsn.lambda_steps) == pytest.approx(0.591, abs=5e-4)
    text = PATH.read_text()
    assert "at lambda 0.604" in text and "to 0.591 at the last step" in text
