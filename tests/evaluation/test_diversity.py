"""Diversity within a class: copies have none, real digits have all there is, and the figures are those of each class alone."""

import numpy as np
import pytest

from stages.evaluation.diversity import COMPARED, diversity
from stages.evaluation.frechet import distance, moments_of
from stages.evaluation.scores import precision_recall
from stages.runtime.errors import UserError

Digits = tuple[np.ndarray, np.ndarray]


def digits(per_class: int, seed: int, spread: float = 1.0) -> Digits:
    """Images of two pixels around a place for each class, far from the others', in no order."""
    generator = np.random.default_rng(seed)
    labels = generator.permutation(np.repeat(np.arange(10), per_class))
    images = generator.normal(scale=spread, size=(len(labels), 1, 2, 1)) + 100 * labels[:, None, None, None]
    return images, labels


def pixels(images: np.ndarray) -> np.ndarray:
    return images.reshape(len(images), -1)


def compare(generated: Digits, train: Digits, test: Digits) -> dict:
    return diversity(generated, train, test, pixels, neighbours=3, seed=0)


TRAIN, TEST = digits(150, 0), digits(300, 1)


def test_what_is_drawn_like_the_real_digits_gets_what_they_get():
    found = compare(digits(COMPARED, 2), TRAIN, TEST)
    for name in ("recall", "precision"):
        assert found[f"{name}_ceiling"] > 0.8
        assert found[name] == pytest.approx(found[f"{name}_ceiling"], abs=0.05)
    assert found["fd"] < 0.1 and found["fd_floor"] < 0.1


@pytest.mark.parametrize("different", [1, 10])
def test_copies_of_a_few_real_digits_are_precise_and_have_no_recall(different):
    images, labels = digits(different, 2)
    found = compare((np.repeat(images, COMPARED // different, axis=0), np.repeat(labels, COMPARED // different)), TRAIN, TEST)
    assert found["recall"] == 0 and found["precision"] > 0.7
    assert found["recall_ceiling"] > 0.8 and found["fd"] > found["fd_floor"]


def test_real_digits_are_looked_at_in_blocks_and_all_of_them(monkeypatch):
    whole, sizes = compare(digits(COMPARED, 2), TRAIN, TEST), []
    monkeypatch.setattr("stages.evaluation.diversity.BLOCK", 7)
    look = lambda images: sizes.append(len(images)) or pixels(images)  # noqa: E731
    assert diversity(digits(COMPARED, 2), TRAIN, TEST, look, neighbours=3, seed=0) == whole
    assert sizes.count(7) == 10 * (300 // 7 + 150 // 7)


def test_recall_of_training_digits_is_told_by_them_alone():
    generated = digits(COMPARED, 2, spread=0.7)
    found, nowhere = compare(generated, TRAIN, TEST), (TEST[0] + 1000, TEST[1])
    train, fake = (pixels(images[labels == 4]) for images, labels in (TRAIN, generated))
    assert found["per_class"]["recall_train"][4] == precision_recall(train, fake, 3)[1]
    assert compare(generated, TRAIN, nowhere)["recall_train"] == found["recall_train"] > 0.3
    # No more of them than there are test digits.
    counted: list[int] = []
    diversity(generated, digits(500, 3), TEST, lambda it: counted.append(len(it)) or pixels(it), neighbours=3, seed=0)
    assert sum(counted) == 10 * (300 + 300 + COMPARED)


def test_digits_that_hardly_differ_have_little_recall():
    assert compare(digits(COMPARED, 2, spread=0.1), TRAIN, TEST)["recall"] < 0.1


def test_each_class_is_compared_with_itself_alone():
    images, labels = digits(COMPARED, 2)
    found = compare((images, (labels + 1) % 10), TRAIN, TEST)
    assert found["recall"] == found["precision"] == 0 and found["fd"] > 1000


def test_the_figures_of_a_class_are_those_of_its_images_and_the_mean_is_over_the_classes():
    generated = digits(COMPARED, 2, spread=0.7)
    found = compare(generated, TRAIN, TEST)
    real, fake = (pixels(images[labels == 4]) for images, labels in (TEST, generated))
    precision, recall = precision_recall(real, fake, 3)
    of_four = {name: values[4] for name, values in found["per_class"].items()}
    assert (of_four["precision"], of_four["recall"]) == (precision, recall)
    assert of_four["fd"] == distance(moments_of(fake), moments_of(real))
    for name, values in found["per_class"].items():
        assert found[name] == pytest.approx(np.mean(values))


def test_more_generated_images_than_are_compared_change_nothing():
    images, labels = digits(COMPARED, 2)
    more, of_more = digits(5, 3, spread=50.0)
    assert compare((np.concatenate([images, more]), np.concatenate([labels, of_more])), TRAIN, TEST) == compare(
        (images, labels), TRAIN, TEST
    )


def test_a_class_with_too_few_images_has_no_figures_and_all_such_are_an_error():
    images, labels = TEST
    rare = labels != 7
    rare[np.flatnonzero(labels == 7)[:3]] = True
    found = compare(digits(COMPARED, 2), TRAIN, (images[rare], labels[rare]))
    assert found["per_class"]["recall"][7] is None
    assert found["recall"] == pytest.approx(np.mean([value for value in found["per_class"]["recall"] if value is not None]))
    with pytest.raises(UserError, match="evaluation.metrics.neighbours is 3, and no digit has more"):
        compare(digits(3, 2), TRAIN, TEST)
