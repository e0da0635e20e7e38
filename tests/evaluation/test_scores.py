"""KID, precision and recall and the classifier score on sets whose scores are known."""

import numpy as np
import pytest
import torch

from stages.evaluation import scores
from stages.evaluation.scores import classifier_score, kid, precision_recall, squared_mmd
from stages.runtime.images import scratch


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def mmd_in_loops(first, second):
    def kernel(x, y):
        return (sum(a * b for a, b in zip(x, y, strict=True)) / len(x) + 1) ** 3

    n, m = len(first), len(second)
    xx = sum(kernel(first[i], first[j]) for i in range(n) for j in range(n) if i != j) / (n * (n - 1))
    yy = sum(kernel(second[i], second[j]) for i in range(m) for j in range(m) if i != j) / (m * (m - 1))
    return xx + yy - 2 * sum(kernel(x, y) for x in first for y in second) / (n * m)


def test_mmd_is_that_of_the_double_loop():
    first, second = rng(1).normal(size=(7, 4)), rng(2).normal(0.5, size=(9, 4))
    assert squared_mmd(first, second) == pytest.approx(mmd_in_loops(first, second), rel=1e-12)


def test_kid_of_two_samples_of_one_distribution_averages_to_zero_where_the_biased_form_does_not():
    values = [squared_mmd(rng(2 * i).normal(size=(20, 5)), rng(2 * i + 1).normal(size=(20, 5))) for i in range(400)]
    error = np.std(values) / np.sqrt(len(values))
    assert abs(np.mean(values)) < 4 * error
    assert min(values) < 0


def test_kid_of_different_distributions_is_positive_and_grows_with_their_distance():
    real = rng(0).normal(size=(200, 5))
    near, far = (kid(real, rng(1).normal(shift, size=(200, 5)), subsets=10, size=100, generator=rng()) for shift in (0.5, 1))
    assert 0.1 < near[0] < far[0]


def test_kid_of_whole_sets_has_no_spread_and_is_the_mmd():
    first, second = rng(1).normal(size=(30, 5)), rng(2).normal(1, size=(40, 5))
    assert kid(first, second, subsets=4, size=1000, generator=rng()) == (
        pytest.approx(squared_mmd(first, second)),
        pytest.approx(0),
    )


def test_kid_draws_the_same_subsets_for_the_same_seed_and_others_for_another():
    first, second = rng(1).normal(size=(50, 5)), rng(2).normal(size=(50, 5))
    again = [kid(first, second, subsets=3, size=10, generator=rng(seed)) for seed in (7, 7, 8)]
    assert again[0] == again[1] != again[2]


def test_a_set_has_full_precision_and_recall_against_itself():
    points = rng().normal(size=(50, 4))
    assert precision_recall(points, points, 3) == (1, 1)


def test_sets_far_apart_have_neither_precision_nor_recall():
    points = rng().normal(size=(50, 4))
    assert precision_recall(points, points + 100, 3) == (0, 0)


def test_one_of_two_modes_is_precise_but_recalls_half():
    mode = rng().normal(size=(40, 4))
    real = np.concatenate([mode, mode + 1000])
    assert precision_recall(real, mode, 3) == (1, 0.5)
    assert precision_recall(mode, real, 3) == (0.5, 1)


def test_the_radius_is_the_distance_to_the_kth_neighbour_other_than_the_point_itself():
    real = np.array([[0.0], [1.0], [3.0]])
    fake = np.array([[-1.0], [-1.5], [4.9], [5.1]])
    assert precision_recall(real, fake, 1)[0] == pytest.approx(2 / 4)
    assert precision_recall(real, fake, 2)[0] == pytest.approx(4 / 4)


@pytest.mark.parametrize("block", [1, 2, 9, 65])
def test_blocks_do_not_change_precision_and_recall(block):
    real, fake = rng(1).normal(size=(70, 3)), rng(2).normal(0.7, size=(60, 3))
    precision, recall = precision_recall(real, fake, 3)
    assert 0 < precision < 1 and 0 < recall < 1
    assert precision_recall(real, fake, 3, block=block) == (precision, recall)


def test_features_on_disk_score_what_they_score_in_memory(tmp_path):
    real, fake = rng(1).normal(size=(70, 30)).astype(np.float32), rng(2).normal(0.2, size=(60, 30)).astype(np.float32)
    kept = []
    for side in (real, fake):
        kept.append(scratch(tmp_path, side.shape, side.dtype))
        kept[-1][:] = side
    assert precision_recall(*kept, 3) == precision_recall(real, fake, 3)
    settings = {"subsets": 3, "size": 20}
    assert kid(*kept, **settings, generator=rng()) == kid(real, fake, **settings, generator=rng())
    assert classifier_score(kept[0], splits=3, generator=rng()) == classifier_score(real, splits=3, generator=rng())


def test_more_neighbours_than_points_are_refused():
    with pytest.raises(ValueError, match="no 3-th nearest"):
        precision_recall(np.zeros((3, 2)), np.zeros((9, 2)), 3)


def test_uniform_predictions_score_one():
    assert classifier_score(np.zeros((40, 7)), splits=4, generator=rng()) == (pytest.approx(1), pytest.approx(0))


def test_certain_predictions_of_all_classes_score_the_number_of_classes():
    logits = np.tile(np.eye(5), (200, 1)) * 1e4
    assert classifier_score(logits, splits=1, generator=rng()) == (pytest.approx(5), 0)


def test_certain_predictions_of_one_class_score_one():
    logits = np.zeros((20, 5))
    logits[:, 2] = 1e4
    assert classifier_score(logits, splits=2, generator=rng())[0] == pytest.approx(1)


def test_the_score_is_that_of_the_written_out_form():
    logits = rng(3).normal(size=(30, 6))
    shares = torch.softmax(torch.from_numpy(logits[rng(4).permutation(30)]), dim=1).numpy()
    parts = [
        np.exp(np.mean([sum(p * np.log(p / q) for p, q in zip(row, part.mean(axis=0), strict=True)) for row in part]))
        for part in np.split(shares, 3)
    ]
    mean, std = classifier_score(logits, splits=3, generator=rng(4))
    assert (mean, std) == (pytest.approx(np.mean(parts)), pytest.approx(np.std(parts)))


def test_the_score_does_not_depend_on_how_many_rows_are_looked_at_together():
    logits = rng(3).normal(size=(70, 6)) * 3
    rows = rng(4).permutation(70)
    assert len({scores._score_of(logits, rows, block) for block in (1, 9, 70)}) == 1


def test_images_in_order_of_class_are_shuffled_before_they_are_split():
    logits = np.repeat(np.eye(5), 200, axis=0) * 1e4
    assert classifier_score(logits, splits=5, generator=rng())[0] > 4.9


def test_more_parts_than_images_are_refused():
    with pytest.raises(ValueError, match="5 parts"):
        classifier_score(np.zeros((4, 3)), splits=5, generator=rng())
