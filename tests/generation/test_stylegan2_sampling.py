"""Sampling a trained StyleGAN2: by both protocols, from the averaged networks, around a sampled or a tracked mean style."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from stages.generation import sample_stylegan2, train_stylegan2
from stages.runtime import params, schema
from stages.runtime.errors import UserError
from stages.runtime.images import load_arrays, save_arrays
from stages.runtime.weights import read_weights, save_weights
from tests.generation.tiny_stylegan2 import CLEAN, HOW, NETWORK, REPORT, SAMPLE, SETTINGS, build, faces

CONTRAST = 0.75


@pytest.fixture
def stage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with prepared faces, in which both stages read the params above."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("RESUME_DIR", raising=False)
    values = {
        "stylegan2.dataset": "orl",
        "stylegan2.network": NETWORK,
        "stylegan2.train": SETTINGS.model_copy(update={"initial_contrast": CONTRAST}),
        "stylegan2.train.initial_contrast": CONTRAST,
        "stylegan2.sample": SAMPLE,
        "training": HOW,
    }
    monkeypatch.setattr(params, "read", lambda *keys: [values[key] for key in keys])
    save_arrays("data/prepared/orl.npz", train_images=faces())
    return tmp_path


def test_the_stages_write_what_they_promise(stage: Path) -> None:
    train_stylegan2.main(0)
    sample_stylegan2.main(0)
    steps, sheets = load_arrays("results/stylegan2-0/snapshots.npz", "steps", "images")
    assert steps.tolist() == [3, 6]
    assert steps.dtype == np.int64
    assert sheets.shape == (2, 32, 16, 16, 3)
    assert not np.array_equal(sheets[0], sheets[1])
    assert (stage / "results/stylegan2-0/history.csv").exists()
    assert not list((stage / ".resume").glob("*"))
    names = ("report_images", "clean_images", "untrained_images")
    report, clean, untrained = load_arrays("samples/stylegan2-0.npz", *names)
    assert report.shape == (7, 16, 16, 3)
    assert clean.shape == untrained.shape == (60, 16, 16, 3)
    assert not np.array_equal(clean, untrained)


def sampled(*arguments) -> np.ndarray:
    parts = [*sample_stylegan2.sample(*arguments).parts]
    assert max(map(len, parts)) <= sample_stylegan2.BATCH
    return np.concatenate(parts)


def samples(name: str) -> np.ndarray:
    return load_arrays("samples/stylegan2-0.npz", f"{name}_images")[0]


def test_sampling_uses_the_averaged_networks_and_repeats_to_the_byte(stage: Path) -> None:
    train_stylegan2.main(0)
    sample_stylegan2.main(0)
    first = (stage / "samples/stylegan2-0.npz").read_bytes()
    weights = read_weights("models/stylegan2-0/weights.safetensors")
    model = build()
    model.load_state_dict(weights)
    expected = sampled(model.average, SAMPLE, CLEAN, 0)
    assert np.array_equal(samples("clean"), expected)
    assert not np.array_equal(sampled(model.faces, SAMPLE, CLEAN, 0), expected)
    truncated = sampled(model.average, SAMPLE, REPORT, 0)
    assert np.array_equal(samples("report"), sample_stylegan2.through_jpeg(truncated))
    sample_stylegan2.main(0)
    assert (stage / "samples/stylegan2-0.npz").read_bytes() == first


def test_untrained_samples_come_from_the_networks_that_training_began_with(stage: Path) -> None:
    train_stylegan2.main(0)
    sample_stylegan2.main(0)
    expected = sampled(build(initial_contrast=CONTRAST).faces, SAMPLE, CLEAN, 0)
    assert np.array_equal(samples("untrained"), expected)


@pytest.mark.parametrize(("few", "many"), [("report", "clean"), ("clean", "report")])
def test_images_of_one_number_show_the_same_latent_in_both_protocols(few: str, many: str) -> None:
    counts = {few: schema.Sampling(count=7, psi=1.0), many: schema.Sampling(count=60, psi=1.0)}
    settings = schema.StyleGAN2Sample(mean_style="sampled", mean_latents=20, **counts)
    model = build()
    for name, parameter in model.faces.named_parameters():
        if "noise" in name:
            torch.nn.init.normal_(parameter, std=0.1)
    first, all_of_them = (sampled(model.faces, settings, counts[name], 0) for name in (few, many))
    assert len(first) == 7 and len(all_of_them) == 60
    assert np.array_equal(first, all_of_them[:7])


def test_the_protocols_differ_by_truncation() -> None:
    model = build()
    report, clean = (sampled(model.faces, SAMPLE, protocol, 0) for protocol in (REPORT, CLEAN))
    assert not np.array_equal(report, clean[:7])


def test_an_image_goes_through_jpeg_as_pillow_saves_it_by_default(tmp_path: Path) -> None:
    images = faces(3, 16)
    through = sample_stylegan2.through_jpeg(images)
    assert through.shape == images.shape and through.dtype == np.uint8
    for image, decoded in zip(images, through, strict=True):
        Image.fromarray(image).save(tmp_path / "face.jpg")
        assert np.array_equal(decoded, np.asarray(Image.open(tmp_path / "face.jpg")))
        Image.fromarray(image).save(tmp_path / "face.jpg", quality=75, subsampling="4:2:0")
        assert np.array_equal(decoded, np.asarray(Image.open(tmp_path / "face.jpg")))
        assert 5 < np.abs(decoded.astype(int) - image).mean() < 80


def test_psi_of_zero_is_one_face_and_of_one_is_no_truncation() -> None:
    model = build()
    faces = model.faces
    none = sampled(faces, SAMPLE, schema.Sampling(count=60, psi=0.0), 0)
    assert (none == none[0]).all()
    full = sampled(faces, SAMPLE, CLEAN, 0)
    torch.manual_seed(0)
    train_stylegan2.seeding.seed_step(0, "sample")
    torch.randn(SAMPLE.mean_latents, 16)
    latents = torch.randn(CLEAN.count, 16)[:50]
    with torch.no_grad():
        images = faces(latents, torch.rand(50, 16, 16))
    assert np.abs(full[:50].astype(int) - (images.clamp(0, 1) * 255).round().permute(0, 2, 3, 1).numpy()).max() <= 1


def test_styles_lie_at_psi_between_the_mean_and_their_own(monkeypatch: pytest.MonkeyPatch) -> None:
    faces, spread, seen = build().faces, [], []
    monkeypatch.setattr(faces, "spread", lambda w, original=faces.spread: spread.append(w) or original(w))
    faces.mapping.register_forward_hook(lambda module, z, w: seen.append(w))
    centre = torch.randn(16)
    [*sample_stylegan2.sample(faces, SAMPLE, schema.Sampling(count=5, psi=0.75), 0, centre=centre).parts]
    torch.testing.assert_close(spread[-1], 0.25 * centre + 0.75 * seen[-1])


def test_the_tracked_mean_style_is_the_centre_of_truncation_and_changes_no_latent(
    stage: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    train_stylegan2.main(0)
    model = build()
    model.load_state_dict(read_weights("models/stylegan2-0/weights.safetensors"))
    drawn = {}
    for form in ("sampled", "tracked"):
        settings = SAMPLE.model_copy(update={"mean_style": form, "report": REPORT.model_copy(update={"psi": 0.0})})
        monkeypatch.setattr(params, "read", lambda *keys, settings=settings: [NETWORK, settings, CONTRAST])
        sample_stylegan2.main(0)
        drawn[form] = {name: samples(name) for name in ("report", "clean", "untrained", "interpolation")}
    for name in ("clean", "untrained"):
        assert np.array_equal(drawn["tracked"][name], drawn["sampled"][name])
    for name in ("report", "interpolation"):
        assert not np.array_equal(drawn["tracked"][name], drawn["sampled"][name])
    centre = sampled(model.average, SAMPLE, schema.Sampling(count=50, psi=0.0), 0, None, model.mean_style)
    train_stylegan2.seeding.seed_step(0, "sample")
    torch.randn(SAMPLE.mean_latents + CLEAN.count, 16)
    with torch.no_grad():
        images = model.average.generator(model.average.spread(model.mean_style.expand(50, -1)), torch.rand(50, 16, 16))
    assert np.abs(centre - (images.clamp(0, 1) * 255).permute(0, 2, 3, 1).numpy()).max() <= 1


def test_weights_without_a_tracked_mean_style_are_refused_only_where_it_is_wanted(stage: Path) -> None:
    train_stylegan2.main(0)
    path = Path("models/stylegan2-0/weights.safetensors")
    save_weights(path, {name: tensor for name, tensor in read_weights(path).items() if name != "mean_style"})
    sample_stylegan2.main(0)
    assert sample_stylegan2.tracked_mean(path, SAMPLE) is None
    with pytest.raises(UserError, match=r"holds no mean_style: train anew, or set stylegan2\.sample\.mean_style to sampled"):
        sample_stylegan2.tracked_mean(path, SAMPLE.model_copy(update={"mean_style": "tracked"}))


def test_weights_of_another_network_are_refused_in_one_line(stage: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    train_stylegan2.main(0)
    wider = NETWORK.model_copy(update={"capacity": 4, "fmap_max": 32})
    monkeypatch.setattr(params, "read", lambda *keys: [wider, SAMPLE, CONTRAST])
    with pytest.raises(UserError, match="another model"):
        sample_stylegan2.main(0)
