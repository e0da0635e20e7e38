"""Training and sampling StyleGAN2: every form runs, averages and regularises when it should, resumes exactly, and samples."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from stages.generation import sample_stylegan2, train_stylegan2
from stages.generation.average import ema_weight
from stages.generation.train_stylegan2 import Training, image_size, part_of_batch
from stages.runtime import parallel, params, schema, training
from stages.runtime.errors import UserError
from stages.runtime.images import load_arrays, save_arrays
from stages.runtime.resume import ResumeState
from stages.runtime.weights import read_weights, save_weights

NETWORK = schema.StyleGAN2Network(
    latent_dim=16, capacity=2, fmap_max=16, attention_layers=[1], attention_heads=1, minibatch_stddev=0
)
SETTINGS = schema.StyleGAN2Train(
    steps=6,
    batch_size=4,
    accumulation=1,
    lr_generator=1e-3,
    lr_discriminator=1e-3,
    lr_decay=0.5,
    beta1=0.5,
    beta2=0.9,
    loss="non_saturating",
    penalty="r1",
    penalty_weight=1.0,
    penalty_interval=2,
    penalty_scaled=False,
    path_length_weight=1.0,
    path_length_interval=2,
    path_length_scaled=False,
    path_length_start=3,
    path_length_decay=0.9,
    style_mixing=0.5,
    ema="constant",
    ema_decay=0.9,
    ema_half_life=100,
    ema_rampup=0.05,
    augment=["translation", "brightness"],
    ada_target=None,
    ada_images=100,
    precision="fp32",
    snapshots=2,
)
HOW = schema.Training(resident_gb=1.0, compile=False, deterministic=False, sync_batch_norm=True)
REPORT, CLEAN = schema.Sampling(count=7, psi=0.7), schema.Sampling(count=60, psi=1.0)
SAMPLE = schema.StyleGAN2Sample(mean_style="sampled", mean_latents=20, report=REPORT, clean=CLEAN)


def faces(n: int = 10, size: int = 16) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (n, size, size, 3), dtype=np.uint8)


def build(seed: int = 0, group: int = 0, **changes: object) -> Training:
    network = NETWORK.model_copy(update={"minibatch_stddev": group})
    settings = schema.StyleGAN2Train(**SETTINGS.model_dump() | changes)
    return Training(faces(), network, settings, HOW, seed, torch.device("cpu"))


def trained(model: Training, folder: Path, steps: int = 6) -> training.Trained:
    state = ResumeState("test", [], [])
    state.folder = folder
    try:
        return training.train(
            model,
            run="test",
            seed=0,
            steps=steps,
            images_per_step=4,
            snapshots=2,
            state=state,
            records=steps,
            save_every_seconds=0,
        )
    finally:
        state.release()


def same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"loss": "hinge_inverted", "penalty": "one_centred", "penalty_weight": 10.0, "ema": "report"},
        {"precision": "bf16"},
        {"accumulation": 2},
        {"penalty_weight": 0.0, "path_length_weight": 0.0, "augment": []},
        {"augment": ["flip", "translation", "brightness", "saturation", "contrast", "cutout"], "style_mixing": 1.0},
        {"penalty_scaled": True, "path_length_scaled": True, "ema": "half_life"},
        {"ada_target": 0.6, "loss": "hinge_inverted", "accumulation": 2, "precision": "bf16"},
    ],
)
def test_every_form_trains_all_networks(changes: dict[str, object], tmp_path: Path) -> None:
    model = build(**changes)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    result = trained(model, tmp_path)
    assert list(result.history[0])[:5] == ["step", "loss_d", "loss_g", "d_real", "d_fake"]
    assert np.isfinite([value for row in result.history for value in row.values()]).all()
    still = {name for name, parameter in model.named_parameters() if torch.equal(parameter, before[name])}
    assert not still


def test_penalties_come_in_their_own_steps_only(tmp_path: Path) -> None:
    history = trained(build(), tmp_path).history
    assert [row["step"] for row in history if "penalty" in row] == [2, 4, 6]
    assert [row["step"] for row in history if "path_length" in row] == [4, 6]


def test_the_path_length_mean_is_set_at_first_and_averaged_later(tmp_path: Path) -> None:
    model = build()
    lengths = {row["step"]: row.get("path_length") for row in trained(model, tmp_path).history}
    assert model.path_length_mean.item() == pytest.approx(0.9 * lengths[4] + 0.1 * lengths[6], rel=1e-5)


def test_path_length_regularisation_changes_the_generator_from_its_second_turn_on(tmp_path: Path) -> None:
    results = [build(path_length_weight=weight) for weight in (1.0, 5.0)]
    for i, model in enumerate(results):
        trained(model, tmp_path / str(i), steps=5)
    assert same(results[0].state_dict(), results[1].state_dict())
    for i, model in enumerate(results):
        trained(model, tmp_path / str(i), steps=6)
    assert not same(results[0].faces.state_dict(), results[1].faces.state_dict())


def test_a_scaled_penalty_counts_as_often_as_its_interval_has_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    assert_scaled("discriminator", "penalty", monkeypatch)


def test_a_scaled_path_length_counts_as_often_as_its_interval_has_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    assert_scaled("generator", "path_length", monkeypatch)


def assert_scaled(network: str, term: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every third step, a scaled term of weight 0.5 has the gradient of one of weight 1.5, and of no other."""
    gradients = []
    for scaled, weight in ((True, 0.5), (False, 1.5), (False, 0.5)):
        model = build(**{f"{term}_scaled": scaled, f"{term}_weight": weight, f"{term}_interval": 3})
        monkeypatch.setattr(model, "_descend", lambda name: None)
        torch.manual_seed(0)
        getattr(model, f"_update_{network}")(6)
        trained = model.discriminator if network == "discriminator" else model.faces
        gradients.append(torch.cat([parameter.grad.flatten() for parameter in trained.parameters()]))
    torch.testing.assert_close(gradients[0], gradients[1])
    assert off(gradients[2], gradients[0]) > 0.01


def test_the_discriminators_step_leaves_the_generator_without_gradients_and_the_other_way_round() -> None:
    model = build()
    torch.manual_seed(0)
    discriminator = [parameter.clone() for parameter in model.discriminator.parameters()]
    model._update_generator(1)
    assert all(torch.equal(*pair) for pair in zip(discriminator, model.discriminator.parameters(), strict=True))
    assert all(parameter.grad is None and parameter.requires_grad for parameter in model.discriminator.parameters())
    generator = [parameter.clone() for parameter in model.faces.parameters()]
    model._update_discriminator(2)
    assert all(torch.equal(*pair) for pair in zip(generator, model.faces.parameters(), strict=True))
    assert all(parameter.grad is None for parameter in model.faces.parameters())


@pytest.mark.parametrize("network", ["generator", "discriminator"])
def test_the_gradient_of_parts_is_their_mean(network, monkeypatch) -> None:
    """Four parts that are all alike must give the gradient of one of them."""
    gradients = []
    for accumulation in (1, 4):
        model = build(accumulation=accumulation, batch_size=4 * accumulation, augment=[], path_length_weight=0.0)
        torch.manual_seed(0)
        real, styles, noise = model._real(1, 0), model._styles().detach(), model._noise()
        monkeypatch.setattr(model, "_real", lambda step, part, real=real: real.clone())
        monkeypatch.setattr(model, "_styles", lambda styles=styles: styles)
        monkeypatch.setattr(model, "_noise", lambda noise=noise: noise)
        monkeypatch.setattr(model, "_descend", lambda name: None)
        (model._update_generator if network == "generator" else model._update_discriminator)(4)
        trained = model.faces.generator if network == "generator" else model.discriminator
        gradients.append([parameter.grad for parameter in trained.parameters()])
    for one, parts in zip(*gradients, strict=True):
        torch.testing.assert_close(parts, one)


@pytest.mark.parametrize("penalty", ["r1", "one_centred"])
def test_a_penalty_in_bf16_has_gradients_as_good_as_a_plain_steps(penalty: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Relative to fp32 and over all weights, both are off by less than a tenth; by about 0.04 in a network of 32 x 32."""
    gradients = {}
    for precision in ("fp32", "bf16"):
        model = build(precision=precision, penalty=penalty, penalty_weight=10.0, batch_size=16)
        monkeypatch.setattr(model, "_descend", lambda name: None)
        for step in (1, 2):
            torch.manual_seed(0)
            model._update_discriminator(step)
            gradients[precision, step] = torch.cat([parameter.grad.flatten() for parameter in model.discriminator.parameters()])
            model.discriminator.zero_grad()
    plain, penalised = (off(gradients["bf16", step], gradients["fp32", step]) for step in (1, 2))
    assert off(gradients["fp32", 2], gradients["fp32", 1]) > 0.2
    assert 0 < penalised < 0.1 and plain < 0.1


def off(found: torch.Tensor, exact: torch.Tensor) -> float:
    return ((found - exact).norm() / exact.norm()).item()


@pytest.mark.parametrize(
    ("step", "weight"),
    [
        (1, None),
        (2, 1.0),
        (1002, 1.0),
        (1010, None),
        (24_002, 1.0),
        (24_005, None),
        (24_010, 0.005),
        (25_002, None),
        (25_010, 0.005),
    ],
)
def test_the_reports_average_is_copied_first_and_moves_every_ten_steps_later(step: int, weight: float | None) -> None:
    assert ema_weight(average("report", ema_decay=0.995), step) == (None if weight is None else pytest.approx(weight))


def test_the_constant_average_moves_every_step_and_further_at_first() -> None:
    use = average("constant", ema_decay=0.99)
    assert ema_weight(use, 5000) == pytest.approx(0.01)
    assert ema_weight(use, 1) > 0.9
    assert all(ema_weight(use, step) >= ema_weight(use, step + 1) for step in range(1, 2000))


@pytest.mark.parametrize("batch_size", [4, 16])
def test_by_half_life_a_generators_share_halves_over_so_many_images(batch_size: int) -> None:
    use = average("half_life", ema_half_life=160, ema_rampup=None, batch_size=batch_size)
    shares = [1 - ema_weight(use, step) for step in range(1, 1 + 160 // batch_size)]
    assert np.prod(shares) == pytest.approx(0.5) and len(set(shares)) == 1


def test_the_half_life_is_at_most_the_ramp_ups_share_of_the_images_so_far() -> None:
    """Half-life 160 images, 4 a step, ramp-up 0.1: of 400 images, after 100 steps, the share is 40, and 160 from step 400 on."""
    use = average("half_life", ema_half_life=160, ema_rampup=0.1, batch_size=4)
    assert 1 - ema_weight(use, 100) == pytest.approx(0.5 ** (4 / 40))
    assert 1 - ema_weight(use, 399) < 1 - ema_weight(use, 400) == 1 - ema_weight(use, 4000) == pytest.approx(0.5 ** (4 / 160))
    assert ema_weight(use, 1) > 0.99


def average(form: str, **changes: object) -> schema.StyleGAN2Train:
    return SETTINGS.model_copy(update={"ema": form, **changes})


def test_a_step_uses_the_learning_rates_of_its_number() -> None:
    model = build(lr_generator=4e-3, lr_discriminator=8e-3)
    model.update(5)
    rates = [model.optimizers[name].param_groups[0]["lr"] for name in ("generator", "discriminator")]
    assert rates == pytest.approx([4e-3 * 2 / 3, 8e-3 * 2 / 3])


def test_the_average_follows_its_formula() -> None:
    model = build()
    before = model.average.generator.constant.clone()
    torch.nn.init.normal_(model.faces.generator.constant)
    model._update_average(2000)
    expected = 0.9 * before + 0.1 * model.faces.generator.constant
    torch.testing.assert_close(model.average.generator.constant, expected)


@pytest.mark.parametrize("form", ["non_saturating", "hinge_inverted"])
def test_adaptive_augmentation_grows_with_a_discriminator_that_is_sure_of_real_images(form: str, tmp_path: Path) -> None:
    """The loss's own sign means real: a discriminator that scores all images so is too sure, the opposite one is not."""
    reached = {}
    for sure in (True, False):
        model = build(loss=form, ada_target=0.6, ada_images=64)
        positive = sure == (form == "non_saturating")
        torch.nn.init.constant_(model.discriminator.score.bias, 1e4 if positive else -1e4)
        history = trained(model, tmp_path / str(sure)).history
        assert [row["ada_sign"] for row in history] == [1.0 if sure else -1.0] * 6
        reached[sure] = [row["ada_p"] for row in history]
    assert reached == {True: [0.0] * 3 + [0.25] * 3, False: [0.0] * 6}


def test_real_and_generated_images_are_augmented_by_the_same_p(monkeypatch: pytest.MonkeyPatch) -> None:
    model = build(ada_target=0.6, ada_images=64, augment=[])
    seen = []
    monkeypatch.setattr(model.ada, "forward", lambda images: seen.append(images) or images)
    model.update(1)
    real, fake, fake_again = seen
    assert torch.equal(real, train_stylegan2.device.to_float(model.feed.at(1)[0], low=0.0))
    assert fake.shape == fake_again.shape == real.shape and fake_again.requires_grad and not fake.requires_grad


def test_the_mean_style_is_the_moving_mean_of_the_first_slots_styles(monkeypatch: pytest.MonkeyPatch) -> None:
    model = build(accumulation=2)
    seen = []
    styles = model._styles
    monkeypatch.setattr(model, "_styles", lambda: seen.append(styles()) or seen[-1])
    expected = torch.zeros(16)
    for step in (1, 2, 5000):
        seen.clear()
        model._update_generator(step)
        assert len(seen) == 2
        expected = expected.lerp(torch.cat(seen)[:, 0].mean(0).detach(), {1: 10 / 11, 2: 10 / 12, 5000: 0.002}[step])
        torch.testing.assert_close(model.mean_style, expected)


def test_processes_share_whole_groups_of_each_part_of_a_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    use = SETTINGS.model_copy(update={"batch_size": 24, "accumulation": 2})
    assert part_of_batch(use, 4) == 12
    monkeypatch.setattr(parallel, "world", lambda: 2)
    assert part_of_batch(use, 0) == part_of_batch(use, 3) == 6
    with pytest.raises(UserError, match="accumulation / minibatch_stddev is 3, which 2 processes can't share evenly"):
        part_of_batch(use, 4)


def test_the_same_seed_trains_the_same_weights_and_another_seed_others(tmp_path: Path) -> None:
    models = [build(), build(), build(seed=1)]
    for i, model in enumerate(models):
        trained(model, tmp_path / str(i), steps=2)
    assert same(models[0].state_dict(), models[1].state_dict())
    assert not same(models[0].state_dict(), models[2].state_dict())


@pytest.mark.parametrize("changes", [{}, {"ada_target": 0.6, "ema": "half_life", "group": 2}])
def test_a_resumed_run_equals_an_uninterrupted_one_bit_for_bit(changes: dict[str, object], tmp_path: Path) -> None:
    whole, broken, resumed = (build(**changes) for _ in range(3))
    expected = trained(whole, tmp_path / "whole")
    broken_update = broken.update

    def interrupted(step: int) -> dict[str, torch.Tensor]:
        if step == 5:
            raise KeyboardInterrupt
        return broken_update(step)

    broken.update = interrupted
    with pytest.raises(KeyboardInterrupt):
        trained(broken, tmp_path / "broken")
    result = trained(resumed, tmp_path / "broken")
    assert same(whole.state_dict(), resumed.state_dict())
    assert result.history == expected.history
    assert all(same(result.snapshots[step], expected.snapshots[step]) for step in (3, 6))


@pytest.mark.parametrize("shape", [(4, 16, 12, 3), (4, 28, 28, 3), (4, 4, 4, 3), (4, 16, 16, 1)])
def test_images_that_no_network_fits_are_refused_in_one_line(shape: tuple[int, ...]) -> None:
    with pytest.raises(UserError, match="power of two"):
        image_size(np.zeros(shape, np.uint8), NETWORK)


def test_an_attention_layer_beyond_the_network_is_refused() -> None:
    network = NETWORK.model_copy(update={"attention_layers": [4]})
    with pytest.raises(UserError, match="must not exceed 3 at 16x16"):
        image_size(faces(), network)


@pytest.fixture
def stage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with prepared faces, in which both stages read the params above."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("RESUME_DIR", raising=False)
    values = {
        "stylegan2.dataset": "orl",
        "stylegan2.network": NETWORK,
        "stylegan2.train": SETTINGS,
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
    expected = sampled(build().faces, SAMPLE, CLEAN, 0)
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


def test_the_tracked_mean_style_is_the_centre_of_truncation_and_changes_no_latent(
    stage: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    train_stylegan2.main(0)
    model = build()
    model.load_state_dict(read_weights("models/stylegan2-0/weights.safetensors"))
    drawn = {}
    for form in ("sampled", "tracked"):
        settings = SAMPLE.model_copy(update={"mean_style": form, "report": REPORT.model_copy(update={"psi": 0.0})})
        monkeypatch.setattr(params, "read", lambda *keys, settings=settings: [NETWORK, settings])
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
    monkeypatch.setattr(params, "read", lambda *keys: [wider, SAMPLE])
    with pytest.raises(UserError, match="another model"):
        sample_stylegan2.main(0)
