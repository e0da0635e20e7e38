"""A nearest training face is shown the way round in which it is nearest."""

from types import SimpleNamespace

import numpy as np

from stages.report import gallery
from stages.report.pictures import picture
from stages.runtime.images import save_arrays


def test_a_training_face_whose_mirror_image_is_nearest_is_shown_mirrored(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    train = np.random.default_rng(0).integers(256, size=(2, 8, 8, 3), dtype=np.uint8)
    save_arrays("data/prepared/orl.npz", train_images=train, test_images=train)
    found = {"protocol": "clean", "train": [[0, 1]], "mirrored": [[False, True]], "distance": [[1.5, 2.5]]}
    results = SimpleNamespace(neighbours=[found], study=SimpleNamespace(faces="orl"))
    [shown] = gallery.neighbours(results, {"clean": train})
    assert shown["nearest"] == [picture(train[0]), picture(train[1, :, ::-1])] != [picture(train[0]), picture(train[1])]
    assert shown["distances"] == [1.5, 2.5]
