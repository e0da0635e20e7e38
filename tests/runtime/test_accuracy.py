"""stages.runtime.accuracy: closed forms of a classifier's figures."""

import json

import numpy as np
import pytest

from stages.runtime.accuracy import classification_report


def test_figures_of_a_small_case_are_the_counted_ones():
    report = classification_report(np.array([0, 0, 0, 1, 1, 2]), np.array([0, 0, 2, 1, 0, 2]), classes=3)
    assert report == {
        "accuracy": pytest.approx(4 / 6),
        "per_class": pytest.approx([2 / 3, 1 / 2, 1.0]),
        "confusion": [[2, 0, 1], [1, 1, 0], [0, 0, 1]],
        "n": 6,
    }


def test_a_class_without_images_has_no_accuracy_and_an_empty_row():
    report = classification_report(np.array([0, 0]), np.array([0, 2]), classes=3)
    assert report["per_class"] == [0.5, None, None]
    assert report["confusion"][1] == [0, 0, 0]


def test_rows_add_up_to_the_class_sizes_and_the_diagonal_to_the_accuracy():
    generator = np.random.default_rng(0)
    labels, predictions = generator.integers(0, 10, 1000), generator.integers(0, 10, 1000)
    report = classification_report(labels, predictions)
    confusion = np.array(report["confusion"])
    assert confusion.sum(axis=1).tolist() == np.bincount(labels, minlength=10).tolist()
    assert confusion.sum(axis=0).tolist() == np.bincount(predictions, minlength=10).tolist()
    assert report["accuracy"] == pytest.approx((labels == predictions).mean())


def test_report_goes_to_strict_json_as_it_is():
    report = classification_report(np.array([0, 1]), np.array([0, 1]), classes=3)
    assert json.loads(json.dumps(report, allow_nan=False)) == report


@pytest.mark.parametrize(
    ("labels", "predictions"),
    [([], []), ([0, 1], [0]), ([0, 10], [0, 1]), ([0, 1], [-1, 1]), ([[0]], [[0]]), ([0.0], [0.5])],
)
def test_arrays_that_do_not_fit_are_refused(labels, predictions):
    with pytest.raises(ValueError, match="must be"):
        classification_report(np.array(labels), np.array(predictions))
