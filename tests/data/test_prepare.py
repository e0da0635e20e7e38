"""Preparing, on small raw folders in the real formats."""

import gzip
import hashlib
import pickle
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image

from stages.data import prepare
from stages.runtime.errors import UserError
from stages.runtime.images import load_split

REPOSITORY = Path(__file__).parents[2]


@pytest.fixture
def workspace(tmp_path, monkeypatch):
    """An empty working folder with the laptop's params, and a function that changes those of one data set."""
    monkeypatch.chdir(tmp_path)
    params = yaml.safe_load((REPOSITORY / "presets/laptop.yaml").read_text())
    # StyleGAN2 asks more of its data set than those made here give.
    params["data"]["folders"]["faces"] = "/faces"
    params["stylegan2"]["dataset"] = "faces"

    def change(dataset, **values):
        params["data"]["datasets"][dataset] |= values
        Path("params.yaml").write_text(yaml.safe_dump(params))

    change("orl")
    return change


def write_orl():
    """Persons and pictures that say by their grey which they are."""
    for person in range(1, 41):
        folder = Path(f"data/raw/orl/s{person}")
        folder.mkdir(parents=True)
        for picture in range(1, 11):
            pixels = np.full((112, 92), person * 5 + picture, np.uint8)
            pixels[:10], pixels[10], pixels[-11], pixels[-10:] = 0, 1, 2, 255
            (folder / f"{picture}.pgm").write_bytes(b"P5\n92 112\n255\n" + pixels.tobytes())


def write_photos(folder):
    folder.mkdir(parents=True)
    picture = np.zeros((60, 200, 3), np.uint8)
    picture[:, :150] = (40, 50, 60)
    picture[:, 150:] = (140, 150, 160)
    Image.fromarray(picture).save(folder / "photo.png")


def write_mnistm(counts=(30, 10, 10)):
    write_photos(Path("data/raw/mnistm/photos"))
    parts = tuple((np.zeros((count, 784), np.float32), np.arange(count) % 10) for count in counts)
    Path("data/raw/mnistm/mnist.pkl.gz").write_bytes(gzip.compress(pickle.dumps(parts, protocol=4)))


def write_mfeat():
    folder = Path("data/raw/mfeat")
    folder.mkdir(parents=True)
    pixels = np.random.default_rng(0).integers(7, size=(2000, 240))
    rows = np.column_stack([pixels, np.repeat(np.arange(10), 200)])
    np.savetxt(folder / "mfeat-pix.csv", rows, fmt="%d", delimiter=",", header=",".join(map(str, range(241))), comments="")


def both_splits(dataset):
    return [load_split(f"data/prepared/{dataset}.npz", split) for split in ("train", "test")]


def test_orl_takes_pictures_1_to_8_for_training_and_9_and_10_for_testing(workspace):
    write_orl()
    workspace("orl", size=24)
    prepare.main("orl")
    (train, persons), (test, test_persons) = both_splits("orl")
    assert train.shape == (320, 24, 24, 3) and test.shape == (80, 24, 24, 3)
    assert persons.tolist() == np.repeat(np.arange(40), 8).tolist()
    assert test_persons.tolist() == np.repeat(np.arange(40), 2).tolist()
    assert train[:, 12, 12, 0].tolist() == [(person + 1) * 5 + picture for person in range(40) for picture in range(1, 9)]
    assert test[:, 12, 12, 0].tolist() == [(person + 1) * 5 + picture for person in range(40) for picture in (9, 10)]
    assert (train == train[..., :1]).all()


def test_orl_keeps_the_centred_square(workspace):
    write_orl()
    workspace("orl", size=92)
    prepare.main("orl")
    face = both_splits("orl")[0][0][0][..., 0]
    assert (face[0] == 1).all() and (face[1:-1] == 6).all() and (face[-1] == 2).all(), "ten rows above and below are cut off"


def test_mnistm_joins_both_training_parts_and_keeps_the_backgrounds_of_the_splits_apart(workspace):
    write_mnistm()
    prepare.main("mnistm")
    (train, labels), (test, test_labels) = both_splits("mnistm")
    assert train.shape == (40, 28, 28, 3) and test.shape == (10, 28, 28, 3)
    assert labels.tolist() == [*(index % 10 for index in range(30)), *range(10)] and test_labels.tolist() == list(range(10))
    assert (train == [40, 50, 60]).all() and (test == [140, 150, 160]).all()


def test_mfeat_splits_every_digit_alike_and_loses_none(workspace):
    write_mfeat()
    workspace("mfeat", test_per_class=30)
    prepare.main("mfeat")
    (train, labels), (test, test_labels) = both_splits("mfeat")
    assert np.bincount(labels).tolist() == [170] * 10 and np.bincount(test_labels).tolist() == [30] * 10
    assert len({image.tobytes() for image in np.concatenate([train, test])}) == 2000
    assert train.shape[1:] == (28, 28, 3)


def test_an_mfeat_digit_stands_white_on_black_in_mnists_frame_at_its_own_aspect():
    framed = prepare.frame_mfeat(np.full((16, 15), 6))
    rows, columns = np.flatnonzero(framed.max(axis=1)), np.flatnonzero(framed.max(axis=0))
    assert framed.shape == (28, 28) and framed.max() == 255 and framed[0].max() == 0
    assert (rows[0], rows[-1]) == (4, 23) and (columns[0], columns[-1]) == (7, 19)
    assert not prepare.frame_mfeat(np.zeros((16, 15))).any()


def write_syn():
    write_photos(Path("data/raw/syn/photos"))
    fonts = Path("data/raw/syn/fonts")
    fonts.mkdir()
    import matplotlib

    (fonts / "font.ttf").symlink_to(Path(matplotlib.get_data_path()) / "fonts/ttf/DejaVuSans.ttf")


def test_syn_renders_as_many_as_params_say(workspace):
    write_syn()
    workspace("syn", train=30, test=20, size=20)
    prepare.main("syn")
    (train, labels), (test, test_labels) = both_splits("syn")
    assert train.shape == (30, 20, 20, 3) and test.shape == (20, 20, 20, 3)
    assert np.bincount(labels).tolist() == [3] * 10 and np.bincount(test_labels).tolist() == [2] * 10


@pytest.mark.parametrize(("dataset", "write"), [("mnistm", write_mnistm), ("mfeat", write_mfeat), ("syn", write_syn)])
def test_the_same_params_give_the_same_bytes_and_another_seed_gives_others(workspace, dataset, write):
    write()
    if dataset == "syn":
        workspace("syn", train=10, test=10)
    if dataset == "mnistm":
        Image.fromarray(np.random.default_rng(0).integers(256, size=(60, 200, 3), dtype=np.uint8)).save(
            "data/raw/mnistm/photos/photo.png"
        )
    digests = []
    for seed in (0, 0, 1):
        workspace(dataset, seed=seed)
        prepare.main(dataset)
        digests.append(hashlib.sha256(Path(f"data/prepared/{dataset}.npz").read_bytes()).hexdigest())
    assert digests[0] == digests[1] != digests[2]


@pytest.mark.parametrize("dataset", ["orl", "mnistm", "mfeat", "syn"])
def test_raw_files_that_are_missing_are_one_clear_line(workspace, dataset):
    with pytest.raises(UserError, match="run `dvc repro`, which fetches"):
        prepare.main(dataset)
    assert not list(Path("data").glob("prepared/*"))
