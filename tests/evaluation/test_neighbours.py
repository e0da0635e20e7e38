"""The nearest training faces are those of all, however the features are cut into parts."""

import numpy as np
import pytest

from stages.evaluation.neighbours import nearest


@pytest.mark.parametrize("cuts", [[], [1], [2, 5], [3, 4, 9]])
def test_the_nearest_are_found_over_all_parts_nearest_first(cuts):
    generator = np.random.default_rng(0)
    features, train = generator.normal(size=(4, 6)).astype(np.float32), generator.normal(size=(10, 6)).astype(np.float32)
    index, distance = nearest(features, np.split(train, cuts), 3)
    every = np.linalg.norm(features[:, None].astype(float) - train[None], axis=2)
    assert np.array_equal(index, np.argsort(every, axis=1)[:, :3])
    assert np.allclose(distance, np.sort(every, axis=1)[:, :3])


def test_a_remembered_face_has_distance_0():
    train = np.random.default_rng(1).normal(size=(5, 3)).astype(np.float32)
    index, distance = nearest(train[[3]], [train], 2)
    assert index[0, 0] == 3 and distance[0, 0] == 0 < distance[0, 1]


def test_fewer_training_faces_than_asked_for_are_all_taken():
    index, _ = nearest(np.zeros((2, 3), np.float32), [np.ones((2, 3), np.float32)], 3)
    assert index.tolist() == [[0, 1], [0, 1]]
