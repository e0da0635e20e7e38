"""New images from trained generators, as users ask for them by the run's name."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from stages.generation import acgan, sample, sample_acgan, stylegan2
from stages.runtime import params
from stages.runtime.errors import UserError
from stages.runtime.weights import save_weights

ROOT = Path(__file__).resolve().parents[2]
SMOKE = (ROOT / "presets/smoke.yaml").read_text()
FACES, DIGITS = "stylegan2-0", "acgan-0"


def write_weights(run: str, network: torch.nn.Module, form: dict | None = None, **others: torch.Tensor) -> None:
    tensors = {f"average.{name}": tensor for name, tensor in network.state_dict().items()} | others
    save_weights(f"models/{run}/weights.safetensors", tensors, form)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A folder with params.yaml and the weights of a run of each kind, whose generators are as they begin."""
    folder = tmp_path_factory.mktemp("trained")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        Path("params.yaml").write_text(SMOKE)
        torch.manual_seed(0)
        write_weights(FACES, stylegan2.StyleGAN2(16, **params.load().stylegan2.network.model_dump(exclude={"minibatch_stddev"})))
        write_weights(DIGITS, acgan.Generator(), {"batch_norm_eps": 1e-05, "fit": "resize"})
    return folder


@pytest.fixture(autouse=True)
def work(trained, tmp_path, monkeypatch):
    """The current folder: the trained one's params and models, and nothing else."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "params.yaml").write_bytes((trained / "params.yaml").read_bytes())
    (tmp_path / "models").symlink_to(trained / "models")
    return tmp_path


def pixels(path: str | Path) -> np.ndarray:
    return np.asarray(Image.open(path))


def test_a_sheet_holds_all_images_in_rows(capsys):
    sample.main(FACES, count=9, psi=0.7, out="faces.png")
    assert capsys.readouterr().out == "9 images of stylegan2-0 in faces.png\n"
    # 8 a row, of 16 pixels each, gaps of 2 between.
    assert pixels("faces.png").shape == (2 * 18 - 2, 8 * 18 - 2, 3)
    sample.main(DIGITS, count=3)
    assert pixels("acgan-0.png").shape == (28, 3 * 30 - 2, 3)


def test_a_folder_holds_a_file_an_image_named_by_number_and_class():
    sample.main(DIGITS, count=12, out="out/mixed")
    assert sorted(os.listdir("out")) == ["mixed"]
    assert sorted(os.listdir("out/mixed")) == [f"{number:04d}-{number % 10}.png" for number in range(12)]
    sample.main(DIGITS, count=2, class_=7, out="sevens")
    assert sorted(os.listdir("sevens")) == ["0000-7.png", "0001-7.png"]
    os.mkdir("faces")
    sample.main(FACES, count=2, out="faces")
    assert sorted(os.listdir("faces")) == ["0000.png", "0001.png"]
    assert pixels("faces/0000.png").shape == (16, 16, 3)


@pytest.mark.parametrize("options", [{"run": FACES, "psi": 0.5}, {"run": DIGITS}, {"run": DIGITS, "class_": 3}])
def test_the_same_seed_gives_the_same_bytes_and_another_one_others(options):
    for name, seed in (("one", 1), ("again", 1), ("other", 2)):
        sample.main(**options, count=5, seed=seed, out=f"{name}.png")
    one, again, other = (Path(f"{name}.png").read_bytes() for name in ("one", "again", "other"))
    assert one == again != other


@pytest.mark.parametrize("batch_norm", ["eval", "batch"])
@pytest.mark.parametrize(("options", "more"), [({"run": FACES}, 51), ({"run": DIGITS}, 101), ({"run": DIGITS, "class_": 3}, 11)])
def test_the_first_images_are_the_same_however_many_follow(options, more, batch_norm):
    Path("params.yaml").write_text(SMOKE.replace("batch_norm: eval", f"batch_norm: {batch_norm}"))
    for count in (3, more):
        sample.main(**options, count=count, seed=1, out=str(count))
    for name in os.listdir("3"):
        assert (Path("3") / name).read_bytes() == (Path(str(more)) / name).read_bytes()


def test_a_class_is_what_the_generator_is_told(monkeypatch):
    """A generator that paints its class shows where the images of each come from."""

    def painted(generator, latents, *_):
        yield np.arange(10, dtype=np.uint8).reshape(10, 1, 1, 1, 1) * np.ones((len(latents) // 10, 28, 28, 3), np.uint8)

    monkeypatch.setattr(sample_acgan, "rendered", painted)
    sample.main(DIGITS, count=25, class_=4, out="fours")
    assert all((pixels(path) == 4).all() for path in Path("fours").iterdir())
    sample.main(DIGITS, count=25, out="all")
    assert all((pixels(path) == int(path.stem[-1])).all() for path in Path("all").iterdir())


def test_psi_draws_faces_together():
    spread = {}
    for psi in (0.0, 1.0):
        sample.main(FACES, count=8, psi=psi, out=f"{psi:.0f}")
        spread[psi] = np.stack([pixels(path) for path in Path(f"{psi:.0f}").iterdir()]).astype(float).std(axis=0).mean()
    assert spread[0.0] < spread[1.0]


@pytest.mark.parametrize(
    ("run", "options", "said"),
    [
        (DIGITS, {"psi": 0.7}, "--psi is for StyleGAN2"),
        (FACES, {"class_": 7}, "--class is for ACGAN"),
        (DIGITS, {"class_": 10}, "--class must be a digit from 0 to 9, not 10"),
        (DIGITS, {"count": 0}, "--count must be from 1 to 10000, not 0"),
        (FACES, {"count": 10_001}, "--count must be from 1"),
        (FACES, {"psi": -0.1}, "--psi must be from 0 to 10, not -0.1"),
        (FACES, {"psi": float("nan")}, "--psi must be from 0 to 10, not nan"),
        (FACES, {"out": "faces.jpg"}, "a sheet ends in .png"),
        ("acgan-7", {}, "there is no run 'acgan-7'; did you mean 'acgan-0'"),
        ("judge", {}, "there is no run 'judge'"),
        ("../acgan-0", {}, "there is no run '../acgan-0'"),
    ],
)
def test_nonsense_is_refused_before_anything_is_written(run, options, said, work):
    with pytest.raises(UserError, match=said.replace(".", r"\.")):
        sample.main(run, **options)
    assert sorted(os.listdir(work)) == ["models", "params.yaml"]


def test_missing_weights_are_named_with_what_trains_them():
    os.unlink("models")
    with pytest.raises(UserError, match="^models/acgan-0/weights.safetensors is missing: run `dvc repro train_acgan@0` first$"):
        sample.main(DIGITS)


@pytest.mark.parametrize("network", [(16, 32, 4, 32, [1], 1), (8, 32, 2, 32, [1], 1)])
def test_weights_of_another_network_than_the_params_are_refused(network):
    """Of more channels, and of smaller images than an attention layer of the params needs."""
    os.unlink("models")
    write_weights(FACES, stylegan2.StyleGAN2(*network))
    Path("params.yaml").write_text(SMOKE.replace("attention_layers:\n    - 1", "attention_layers:\n    - 3"))
    with pytest.raises(UserError, match="belongs to another model than the params describe"):
        sample.main(FACES, out="x.png")
    assert not Path("x.png").exists()


@pytest.mark.parametrize(
    ("here", "said"),
    [
        ({"batch_norm_eps: 1.0e-05": "batch_norm_eps: 0.8"}, "1e-05.*there.*0.8.*here"),
        ({"fit: resize": "fit: pad", "form: clean": "form: crop"}, "resize.*there.*pad.*here"),
    ],
)
def test_an_acgan_that_was_trained_in_another_form_than_the_params_have_is_refused(here, said):
    """Its weights would fit, and make other digits than it has learnt."""
    changed = SMOKE
    for old, new in here.items():
        assert old in changed
        changed = changed.replace(old, new)
    Path("params.yaml").write_text(changed)
    with pytest.raises(UserError, match=f"belongs to another model than the params describe .*{said}"):
        sample.main(DIGITS, out="x.png")
    assert not Path("x.png").exists()


def test_weights_that_tell_nothing_of_their_form_are_refused():
    os.unlink("models")
    write_weights(DIGITS, acgan.Generator())
    with pytest.raises(UserError, match="nothing there"):
        sample.main(DIGITS, out="x.png")


def test_psi_draws_faces_towards_the_tracked_mean_where_the_params_want_it_and_the_weights_have_it():
    os.unlink("models")
    network = stylegan2.StyleGAN2(16, 32, 2, 32, [1], 1)
    sample_with = {form: SMOKE.replace("mean_style: sampled", f"mean_style: {form}") for form in ("sampled", "tracked")}
    write_weights(FACES, network)
    Path("params.yaml").write_text(sample_with["tracked"])
    with pytest.raises(UserError, match="holds no mean_style"):
        sample.main(FACES, out="x.png")
    for form, text in sample_with.items():
        Path("params.yaml").write_text(text)
        write_weights(FACES, network, mean_style=torch.full((32,), 3.0))
        for psi in (0.0, 1.0):
            sample.main(FACES, count=2, psi=psi, out=f"{form}-{psi:.0f}.png")
    assert np.array_equal(pixels("sampled-1.png"), pixels("tracked-1.png"))
    assert not np.array_equal(pixels("sampled-0.png"), pixels("tracked-0.png"))


def test_nothing_is_replaced_unless_asked_for():
    Path("a.png").write_text("mine")
    os.mkdir("folder")
    Path("folder/mine.txt").write_text("mine")
    for out, force in (("a.png", False), ("folder", False), ("folder", True)):
        with pytest.raises(UserError, match="exists already"):
            sample.main(DIGITS, out=out, force=force)
    assert Path("a.png").read_text() == "mine" and os.listdir("folder") == ["mine.txt"]
    sample.main(DIGITS, count=1, out="a.png", force=True)
    assert pixels("a.png").shape == (28, 28, 3)


def test_what_fails_half_way_leaves_nothing(monkeypatch, work):
    saved = []

    def full(image, path, *_):
        saved.append(path)
        if len(saved) == 3:
            raise OSError(28, "No space left on device")
        Path(path).write_bytes(b"x")

    monkeypatch.setattr(Image.Image, "save", full)
    with pytest.raises(UserError, match="out can't be written: no space left"):
        sample.main(DIGITS, count=5, out="out")
    assert sorted(os.listdir(work)) == ["models", "params.yaml"]


def test_the_command_line_takes_what_the_docs_show(work):
    words = ["acgan-0", "--class", "7", "--count", "20", "--seed", "1", "--out", "digits.png"]
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "stages.generation.sample", *words]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stdout, done.stderr) == (0, "20 images of acgan-0 in digits.png\n", "")
    # No stage of the pipeline: it leaves no times.
    assert sorted(os.listdir(work)) == ["digits.png", "models", "params.yaml"]
    done = subprocess.run([*command, "--psi", "1", "--force"], env=environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == 1 and done.stderr.count("\n") == 1
