"""The page's pictures: a nearest training face is shown the way round in which it is nearest, and a damaged file is named."""

from types import SimpleNamespace

import numpy as np
import pytest

from stages.report import gallery
from stages.report.pictures import picture
from stages.runtime.errors import UserError
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


@pytest.mark.parametrize("place", [0, 6], ids=["no archive", "of a later version"])
def test_a_damaged_file_of_pictures_is_named_and_not_left_out(tmp_path, place):
    path = tmp_path / "reconstructions.npz"
    save_arrays(path, source_images=np.zeros((4, 1, 8, 8, 3), np.uint8))
    content = bytearray(path.read_bytes())
    content[content.index(b"PK\1\2") + place] = 200
    path.write_bytes(content)
    with pytest.raises(UserError, match=f"^{path} is damaged"):
        gallery.reconstructions(tmp_path)


def test_pictures_that_no_stage_left_are_left_out(tmp_path):
    assert gallery.reconstructions(tmp_path) is None
