"""Digits in a user's folder: which images are read and how, what the CSV says, and how a fault ends."""

import csv
import io
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from stages.adaptation import predict
from stages.adaptation.method import METHODS, in_batches, named
from stages.data.pictures import unify
from stages.runtime.errors import UserError
from stages.runtime.weights import save_weights

ROOT = Path(__file__).resolve().parents[2]
PAIR = "mnistm-mfeat"
RUN = f"{PAIR}-dann-0"


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """A folder with the weights of a run of each method, as they begin."""
    folder = tmp_path_factory.mktemp("trained") / "models"
    for method in METHODS:
        torch.manual_seed(0)
        save_weights(folder / f"{PAIR}-{method}-0/weights.safetensors", named(method)().state_dict())
    return folder


@pytest.fixture(autouse=True)
def work(models, tmp_path, monkeypatch):
    """The current folder: params, models, and a folder `own` for images."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "params.yaml").write_text((ROOT / "presets/smoke.yaml").read_text())
    (tmp_path / "models").symlink_to(models)
    (tmp_path / "own").mkdir()
    return tmp_path


def write_image(name: str, seed: int = 0, shape: tuple[int, ...] = (28, 28, 3), **options) -> np.ndarray:
    pixels = np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)
    Image.fromarray(pixels).save(Path("own") / name, **{"format": "PNG"} | options)
    return pixels


def predicted(run: str = RUN) -> list[dict[str, str]]:
    predict.main(run, "own", csv="out.csv", force=True)
    with open("out.csv", encoding="utf-8", errors="surrogateescape", newline="") as file:
        return list(csv.DictReader(file))


@pytest.mark.parametrize("method", METHODS)
def test_label_and_confidence_are_the_classifier_s(method):
    images = np.stack([write_image(f"{number:03d}.png", number) for number in range(predict.BLOCK + 5)])
    rows = predicted(f"{PAIR}-{method}-0")
    torch.manual_seed(0)
    model = named(method)()
    probabilities = in_batches(model.predict, images).softmax(dim=1)
    assert [row["image_name"] for row in rows] == [f"{number:03d}.png" for number in range(len(images))]
    assert [int(row["label"]) for row in rows] == probabilities.argmax(dim=1).tolist()
    np.testing.assert_allclose([float(row["confidence"]) for row in rows], probabilities.amax(dim=1), atol=6e-5)


def test_images_are_brought_to_the_classifier_s_form_as_those_of_an_imported_folder(monkeypatch):
    seen = []
    monkeypatch.setattr("stages.adaptation.method.in_batches", lambda _, images: seen.append(images) or torch.zeros(4, 10))
    grey = write_image("a grey.png", 1, (28, 28))
    wide = write_image("b wide.jpg", 2, (20, 50, 3))
    exif = Image.Exif()
    exif[0x0112] = 6
    turned = write_image("c turned.png", 3, exif=exif)
    write_image("d jpeg.JPEG", 4, (60, 60, 3), format="JPEG")
    predicted()
    [images] = seen
    assert images.shape == (4, 28, 28, 3) and images.dtype == np.uint8
    np.testing.assert_array_equal(images[0], grey[..., None].repeat(3, axis=2))
    np.testing.assert_array_equal(images[1], unify(wide[None], 28)[0])
    np.testing.assert_array_equal(images[2], np.rot90(turned, -1))


def test_without_a_file_the_table_goes_to_stdout_and_the_summary_to_stderr(capsysbinary):
    for number in range(3):
        write_image(f"{number}.png", number)
    rows = predicted()
    capsysbinary.readouterr()
    predict.main(RUN, "own")
    said = capsysbinary.readouterr()
    assert said.out == Path("out.csv").read_bytes()
    assert list(csv.DictReader(io.StringIO(said.out.decode()))) == rows
    counts, speed = said.err.decode().splitlines()
    assert sum(int(word) for word in counts.split()[1::2]) == 3
    assert speed.startswith("3 images, ") and speed.endswith(" images/s")


NAMES = [
    "-rf.png",
    "=cmd|' C calc'!A0.png",
    "+1.png",
    "@x.png",
    'a",b.png',
    "line\nbreak.png",
    "ü 数.png",
    "no ending",
    "\udcff.png",
]


def test_any_name_comes_back_out_of_the_table():
    for name in NAMES:
        write_image(name)
    assert [row["image_name"] for row in predicted()] == sorted(NAMES)


def test_links_are_followed_and_hidden_files_passed_over():
    write_image("../elsewhere.png")
    os.symlink("../elsewhere.png", "own/link.png")
    Path("own/.hidden").write_text("x")
    Path("own/Thumbs.db").write_text("x")
    assert [row["image_name"] for row in predicted()] == ["link.png"]


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda: Path("own/b.png").write_text("x"), r"^own: 1 file that can't be read: b.png \(no PNG or JPEG picture\)$"),
        (lambda: Path("own/b.png").write_bytes(Path("own/a.png").read_bytes()[:500]), "1 file that can't be read: b.png"),
        (lambda: Path("own/=b\n.txt").write_text("x"), r"can't be read: '=b\\n.txt \(no PNG or JPEG picture\)'$"),
        (lambda: os.mkdir("own/sub"), "1 entry in own/ besides files: sub"),
        (lambda: os.symlink("nowhere", "own/b.png"), "1 entry in own/ besides files: b.png"),
        (lambda: os.mkfifo("own/b.png"), "1 entry in own/ besides files: b.png"),
        (lambda: os.unlink("own/a.png"), "own/ holds no pictures"),
        (lambda: os.rename("own", "mine"), "no folder own/"),
    ],
)
@pytest.mark.parametrize("table", ["out.csv", None])
def test_a_fault_in_the_folder_is_named_and_nothing_is_written(spoil, said, table, work, capsys):
    write_image("a.png")
    spoil()
    before = sorted(os.listdir(work))
    with pytest.raises(UserError, match=said):
        predict.main(RUN, "own", csv=table)
    assert sorted(os.listdir(work)) == before
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(
    ("run", "said"),
    [
        (f"{PAIR}-dan-0", f"there is no run '{PAIR}-dan-0'; did you mean '{PAIR}-dann-0'"),
        ("acgan-0", "there is no run 'acgan-0'"),
        (f"../models/{RUN}", "there is no run"),
    ],
)
def test_another_run_is_refused(run, said):
    write_image("a.png")
    with pytest.raises(UserError, match=said):
        predict.main(run, "own")


@pytest.mark.parametrize(("method", "stage"), [("dsn", "adapt"), ("target_only", "adapt_target")])
def test_missing_weights_are_named_with_what_trains_them(method, stage):
    os.unlink("models")
    run = f"{PAIR}-{method}-0"
    with pytest.raises(UserError, match=f"^models/{run}/weights.safetensors is missing: run `dvc repro {stage}@{run}` first$"):
        predict.main(run, "own")


def test_weights_of_another_method_are_refused():
    write_image("a.png")
    os.unlink("models")
    save_weights(f"models/{RUN}/weights.safetensors", named("dsn")().state_dict())
    with pytest.raises(UserError, match="belongs to another model"):
        predict.main(RUN, "own")


def test_a_file_is_replaced_only_where_it_is_asked_for():
    write_image("a.png")
    Path("out.csv").write_text("mine")
    with pytest.raises(UserError, match="out.csv exists already"):
        predict.main(RUN, "own", csv="out.csv")
    assert Path("out.csv").read_text() == "mine"
    with pytest.raises(UserError, match="own is a folder"):
        predict.main(RUN, "own", csv="own", force=True)
    assert predicted()


def test_the_command_line_takes_what_the_docs_show(work):
    write_image("a.png")
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "stages.adaptation.predict", RUN, "own"]
    done = subprocess.run([*command, "--csv", "labels.csv"], env=environment, capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stdout) == (0, "") and "1 image, " in done.stderr
    assert sorted(os.listdir(work)) == ["labels.csv", "models", "own", "params.yaml"]
    done = subprocess.run([*command, "--csv", "labels.csv"], env=environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == 1 and done.stderr.startswith("error: labels.csv exists") and done.stderr.count("\n") == 1
