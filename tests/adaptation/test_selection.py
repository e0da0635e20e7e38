"""Label-free scores of snapshots, in closed form, and the choice by them."""

import math

import numpy as np
import pytest
import torch

from stages.adaptation import selection
from stages.adaptation.method import METHODS
from stages.adaptation.selection import RULES, choose, confident_share, mean_entropy, rules_for, soft_neighbourhood_density
from tests.adaptation.test_adaptation_methods import images, make


def test_the_confident_share_counts_rows_above_the_threshold():
    rows = torch.tensor([[0.97, 0.03], [0.968, 0.032], [0.0, 1.0], [0.5, 0.5]], dtype=torch.float64)
    assert confident_share(rows) == 0.5


def test_entropy_is_the_mean_over_rows():
    rows = torch.tensor([[1.0, 0.0], [0.5, 0.5], [0.25, 0.75]])
    expected = (0 + math.log(2) - 0.25 * math.log(0.25) - 0.75 * math.log(0.75)) / 3
    assert mean_entropy(rows) == pytest.approx(expected, rel=1e-6)


def test_density_is_the_logarithm_of_the_number_of_neighbours():
    """Four images of one digit and three of another, all certain: neighbours are alike, and the others e^20 times as unlikely."""
    certain = torch.eye(2, dtype=torch.float64)[[0, 0, 0, 0, 1, 1, 1]]
    assert soft_neighbourhood_density(certain) == pytest.approx((4 * math.log(3) + 3 * math.log(2)) / 7, abs=1e-6)


def test_density_is_that_of_its_equations():
    rows = np.random.default_rng(0).dirichlet(np.ones(3), 6)
    normal = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    entropies = []
    for index, row in enumerate(normal):
        others = np.delete(normal @ row, index) / 0.05
        shares = np.exp(others - others.max())
        shares /= shares.sum()
        entropies.append(-(shares * np.log(shares)).sum())
    assert soft_neighbourhood_density(torch.from_numpy(rows)) == pytest.approx(np.mean(entropies), rel=1e-9)


@pytest.mark.parametrize(("count", "expected"), [(1, 0.0), (2, 0.0), (3, math.log(2))])
def test_density_of_few_images(count, expected):
    assert soft_neighbourhood_density(torch.full((count, 10), 0.1)) == pytest.approx(expected, abs=1e-6)


SCORED = {
    10: {"confident_share": 0.2, "target_entropy": -0.5, "soft_neighbourhood_density": 3.0},
    20: {"confident_share": 0.4, "target_entropy": -0.3, "soft_neighbourhood_density": 2.0},
    30: {"confident_share": 0.4, "target_entropy": -0.4, "soft_neighbourhood_density": 1.0},
}


@pytest.mark.parametrize(
    ("rule", "step"), [("last", 30), ("confident_share", 30), ("target_entropy", 20), ("soft_neighbourhood_density", 10)]
)
def test_a_rule_takes_the_highest_score_and_of_equal_ones_the_latest(rule, step):
    assert choose(SCORED, rule) == step


def test_a_surer_classifier_scores_higher_by_confidence_and_entropy():
    model, pictures = make("dann"), images(30, 5)
    before = selection.scores(model, pictures)
    assert set(before) == set(RULES) - {"last"}
    last = model.network.class_head[-1]
    with torch.no_grad():
        last.weight *= 1000
        last.bias *= 1000
    after = selection.scores(model, pictures)
    assert after["confident_share"] > before["confident_share"] and after["target_entropy"] > before["target_entropy"]


def test_no_more_than_so_many_images_are_scored(monkeypatch):
    monkeypatch.setattr(selection, "MOST", 7)
    model, pictures = make("dann"), images(30, 5)
    assert selection.scores(model, pictures) == selection.scores(model, pictures[:7]) != selection.scores(model, pictures[7:])


def test_only_methods_that_train_on_unlabelled_target_images_have_a_choice():
    assert {method for method in METHODS if rules_for(method) == ("last",)} == {"source_only", "target_only"}
    assert rules_for("dann") == rules_for("mean_teacher") == RULES
