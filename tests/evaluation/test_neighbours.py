"""The nearest training faces are those of all, however the features are cut into parts; novelty tells copies from new faces."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch.nn.functional as F
from scipy.ndimage import gaussian_filter
from torch import nn

from stages.evaluation import extractors, neighbours
from stages.evaluation.neighbours import near_share, nearest, novelty, thumbnails
from stages.report import comparison
from stages.runtime import params, schema
from stages.runtime.errors import UserError
from stages.runtime.images import save_arrays


@pytest.mark.parametrize("cuts", [[], [1], [2, 5], [3, 4, 9]])
def test_the_nearest_are_found_over_all_parts_nearest_first(cuts):
    generator = np.random.default_rng(0)
    features, train = generator.normal(size=(4, 6)).astype(np.float32), generator.normal(size=(10, 6)).astype(np.float32)
    index, view, distance = nearest(features, np.split(train[:, None], cuts), 3)
    assert not view.any()
    every = np.linalg.norm(features[:, None].astype(float) - train[None], axis=2)
    assert np.array_equal(index, np.argsort(every, axis=1)[:, :3])
    assert np.allclose(distance, np.sort(every, axis=1)[:, :3])


@pytest.mark.parametrize("view", [0, 1])
def test_a_remembered_face_has_distance_0_in_whichever_view(view):
    train = np.random.default_rng(1).normal(size=(5, 2, 3)).astype(np.float32)
    index, found, distance = nearest(train[[3], view], [train[:2], train[2:]], 2)
    assert index[0, 0] == 3 != index[0, 1] and distance[0, 0] == 0 < distance[0, 1] and found[0, 0] == view


def test_fewer_training_faces_than_asked_for_are_all_taken():
    index, _, _ = nearest(np.zeros((2, 3), np.float32), [np.ones((2, 1, 3), np.float32)], 3)
    assert index.tolist() == [[0, 1], [0, 1]]


def test_novelty_is_a_ratio_of_medians_and_unknown_where_test_images_are_copies():
    assert novelty(np.array([1.0, 2.0, 9.0]), np.array([4.0, 4.0, 8.0, 2.0])) == 0.5
    assert novelty(np.ones(3), np.array([0.0, 0.0, 1.0])) is None


def test_the_near_share_counts_what_is_nearer_than_all_but_a_few_test_images():
    unseen = np.arange(1.0, 102.0)
    assert near_share(np.array([0.5, 5.9, 6.1, 50.0]), unseen) == 0.5
    assert near_share(unseen, unseen) == pytest.approx(neighbours.NEAR, abs=0.01)
    assert near_share(np.zeros(3), np.array([0.0, 0.0, 1.0])) is None
    assert comparison.ALWAYS["near_share_real"]["mean"] == neighbours.NEAR, "what the table says of real images"


def smooth_faces(count: int, seed: int) -> np.ndarray:
    """Images 32x32 without fine detail, that leave room for more brightness and noise."""
    coarse = np.random.default_rng(seed).uniform(60, 170, (count, 6, 6, 3))
    return gaussian_filter(coarse.repeat(6, axis=1).repeat(6, axis=2)[:, 2:34, 2:34], (0, 1, 1, 0))


COPIES = {
    "blurred": lambda images: gaussian_filter(images, (0, 1, 1, 0)),
    "noisy": lambda images: images + np.random.default_rng(5).normal(0, 16, images.shape),
    "brighter, of more contrast": lambda images: 1.3 * images + 20,
    "tinted": lambda images: images * [1.15, 1.0, 0.85],
    "mirrored": lambda images: images[:, :, ::-1],
}


@pytest.mark.parametrize("kind", COPIES)
def test_thumbnails_of_copies_are_near(kind):
    train, test = smooth_faces(100, 0), smooth_faces(100, 1)
    copies = np.clip(COPIES[kind](train[:60]), 0, 255).round().astype(np.uint8)
    small = [thumbnails(images)[:, 0] for images in (copies, test)]
    index, _, distance = nearest(np.concatenate(small), [thumbnails(train)], 1)
    assert index[:60, 0].tolist() == list(range(60))
    assert near_share(distance[:60, 0], distance[60:, 0]) == 1.0 and novelty(distance[:60, 0], distance[60:, 0]) < 0.5


def test_a_thumbnail_is_the_means_of_cells_standardised_and_its_mirror_image():
    images = np.random.default_rng(0).integers(0, 256, (2, 16, 24, 2), dtype=np.uint8)
    cells = images.reshape(2, 8, 2, 8, 3, 2).mean((2, 4)).transpose(0, 3, 1, 2)
    centred = cells - cells.mean((2, 3), keepdims=True)
    expected = centred / centred.std((1, 2, 3), keepdims=True)
    found = thumbnails(images).reshape(2, 2, 2, 8, 8)
    assert np.allclose(found[:, 0], expected, atol=1e-5) and np.array_equal(found[:, 1], found[:, 0, ..., ::-1])
    assert not thumbnails(np.full((1, 9, 9, 3), [7, 70, 200], np.uint8)).any()


class Pixels(extractors.Extractor):
    """Features are the colours of the image's quarters, logits a mixture of them."""

    def __init__(self) -> None:
        super().__init__()
        self.network = nn.Linear(12, 7)

    def forward(self, images):
        features = F.adaptive_avg_pool2d(images, 2).flatten(1)
        return features, self.network(features)


def faces(count: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (count, 8, 8, 3), dtype=np.uint8)


@pytest.fixture
def found(tmp_path, monkeypatch):
    """Runs the stage on samples, 40 training and 30 test faces, and returns what it writes."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(extractors, "load", lambda name: Pixels().eval())
    metrics = schema.Metrics(batch_size=8, neighbours=3, splits=2, kid_subsets=2, kid_subset_size=4, seed=0)
    monkeypatch.setattr(params, "read", lambda *keys: [metrics, "orl"])

    def run(samples: np.ndarray, test: np.ndarray | None = None) -> dict:
        save_arrays("data/prepared/orl.npz", train_images=faces(40, 0), test_images=faces(30, 1) if test is None else test)
        save_arrays("samples/stylegan2-0.npz", clean_images=samples)
        neighbours.main(0, "tiny")
        return json.loads(Path("results/stylegan2-0/neighbours.json").read_text())

    return run


@pytest.mark.parametrize("part", [7, 1024])
def test_copies_have_novelty_0_and_unseen_images_about_1(found, monkeypatch, part):
    monkeypatch.setattr(neighbours, "PART", part)
    copies = found(faces(40, 0)[5:25])
    assert found(faces(40, 0)[20:])["thumbnail_near_share"] == 1.0
    assert (
        copies["novelty"] == copies["thumbnail_novelty"] == 0.0 and copies["near_share"] == copies["thumbnail_near_share"] == 1.0
    )
    assert not any(row[0] for row in copies["mirrored"])
    assert [row[0] for row in copies["train"]] == [*range(5, 13)] and {row[0] for row in copies["distance"]} == {0.0}
    assert (copies["n_fake"], copies["n_real"], copies["n_train"]) == (20, 30, 40)
    mirrored = found(faces(40, 0)[5:25, :, ::-1])
    assert all(row[0] for row in mirrored["mirrored"])
    assert (
        mirrored["novelty"] == 0.0
        and mirrored["thumbnail_novelty"] == pytest.approx(0, abs=1e-5)
        and [row[0] for row in mirrored["train"]] == [*range(5, 13)]
    )
    assert found(faces(30, 1))["novelty"] == found(faces(30, 1))["thumbnail_novelty"] == 1.0
    for name in ("novelty", "thumbnail_novelty"):
        assert found(faces(60, 2))[name] == pytest.approx(1, abs=0.15)


def test_far_more_images_than_are_measured_are_looked_at_in_part(found, monkeypatch):
    monkeypatch.setattr(neighbours, "MEASURED", 12)
    some = found(faces(60, 2))
    assert (some["n_fake"], some["n_real"], len(some["train"])) == (12, 12, 8)


def test_test_images_of_another_shape_are_refused(found):
    with pytest.raises(UserError, match="samples .* and test images .* differ in shape"):
        found(faces(10, 2), faces(30, 1)[:, :4])
