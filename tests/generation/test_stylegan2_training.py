"""Training StyleGAN2: every form runs, augments and regularises when it should, and resumes exactly."""

import multiprocessing
from pathlib import Path

import numpy as np
import pytest
import torch

from stages.generation import train_stylegan2
from stages.generation.train_stylegan2 import Training, image_size, part_of_batch
from stages.runtime import parallel, seeding, training
from stages.runtime.errors import UserError
from stages.runtime.resume import ResumeState
from tests.generation.tiny_stylegan2 import HOW, NETWORK, SETTINGS, build, faces


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


def weights_after_four_steps(compiled: bool) -> dict[str, np.ndarray]:
    # The smallest images, of which the compiler makes code in a minute.
    how = HOW.model_copy(update={"compile": compiled})
    model = Training(faces(size=8), NETWORK, SETTINGS, how, 0, torch.device("cpu"))
    for step in range(1, 5):
        seeding.seed_step(0, step)
        model.update(step)
    return {name: tensor.numpy() for name, tensor in model.state_dict().items()}


@pytest.mark.slow
def test_compiled_networks_train_as_others_do_and_keep_the_names_of_their_weights() -> None:
    # Compiled backward passes start threads, and a process that has them can't be forked by other tests.
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        compiled = pool.apply(weights_after_four_steps, [True])
    eager = weights_after_four_steps(compiled=False)
    assert compiled.keys() == eager.keys()
    for name, weights in compiled.items():
        np.testing.assert_allclose(weights, eager[name], rtol=1e-4, atol=1e-5, err_msg=name)


def test_generator_and_average_start_with_the_initial_contrast() -> None:
    plain, faint = build(), build(initial_contrast=0.1)
    for network in ("faces", "average"):
        expected, images = (getattr(model, network)(*model.sheet) for model in (plain, faint))
        torch.testing.assert_close(images, expected / 10)


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


def test_a_step_uses_the_learning_rates_of_its_number() -> None:
    model = build(lr_generator=4e-3, lr_discriminator=8e-3)
    model.update(5)
    rates = [model.optimizers[name].param_groups[0]["lr"] for name in ("generator", "discriminator")]
    assert rates == pytest.approx([4e-3 * 2 / 3, 8e-3 * 2 / 3])


@pytest.mark.parametrize("form", ["non_saturating", "hinge_inverted"])
def test_adaptive_augmentation_grows_with_a_discriminator_that_is_sure_of_real_images(
    form: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The loss's own sign means real, and generated images, which get the other one, have no say."""
    reached = {}
    for sure in (True, False):
        model = build(loss=form, ada_target=0.6, ada_images=64)
        force_signs(model, 1e4 if sure == (form == "non_saturating") else -1e4, monkeypatch)
        history = trained(model, tmp_path / str(sure)).history
        assert [row["ada_sign"] for row in history] == [1.0 if sure else -1.0] * 6
        reached[sure] = [row["ada_p"] for row in history]
    assert reached == {True: [0.0] * 3 + [0.25] * 3, False: [0.0] * 6}


def force_signs(model: Training, shift: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """Real images' scores are raised by so much, those of generated ones lowered."""
    scores = model._scores

    def shifted(*arguments) -> tuple[torch.Tensor, torch.Tensor]:
        real, fake = scores(*arguments)
        return real + shift, fake - shift

    monkeypatch.setattr(model, "_scores", shifted)


def test_real_and_generated_images_are_augmented_by_the_same_p(monkeypatch: pytest.MonkeyPatch) -> None:
    model = build(ada_target=0.6, ada_images=64, augment=[])
    seen = []
    monkeypatch.setattr(model.ada, "forward", lambda images: seen.append(images) or images)
    model.update(1)
    real, fake, fake_again = seen
    assert torch.equal(real, train_stylegan2.device.to_float(model.feed.at(1)[0], low=0.0))
    assert fake.shape == fake_again.shape == real.shape and fake_again.requires_grad and not fake.requires_grad


@pytest.mark.parametrize("chance", [0.0, 0.3, 0.9, 1.0])
def test_styles_are_mixed_by_that_chance_from_any_layer_on(chance: float) -> None:
    """Each share of 4,000 images within four standard deviations."""
    model = build(style_mixing=chance)
    model.part, slots = 4000, model.faces.generator.slots
    torch.manual_seed(0)
    z, other, cut = model._mixture()
    assert not torch.equal(z, other) and cut.max() <= slots
    expected = np.array([chance / slots] * slots + [1 - chance])
    shares = np.bincount(cut.numpy(), minlength=slots + 1) / 4000
    assert (np.abs(shares - expected) <= 4 * np.sqrt(expected * (1 - expected) / 4000)).all()


def test_sheets_show_the_averaged_networks() -> None:
    model = build()
    before = model.snapshot()["images"]
    for network, shown in ((model.faces, False), (model.average, True)):
        for parameter in network.parameters():
            torch.nn.init.normal_(parameter)
        assert torch.equal(model.snapshot()["images"], before) != shown


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


def interrupt(model: Training, at: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C as that step begins."""
    update = model.update

    def interrupted(step: int) -> dict[str, torch.Tensor]:
        if step == at:
            raise KeyboardInterrupt
        return update(step)

    monkeypatch.setattr(model, "update", interrupted)


@pytest.mark.parametrize("changes", [{}, {"ada_target": 0.6, "ema": "half_life", "group": 2}])
def test_a_resumed_run_equals_an_uninterrupted_one_bit_for_bit(
    changes: dict[str, object], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, broken, resumed = (build(**changes) for _ in range(3))
    expected = trained(whole, tmp_path / "whole")
    interrupt(broken, 5, monkeypatch)
    with pytest.raises(KeyboardInterrupt):
        trained(broken, tmp_path / "broken")
    result = trained(resumed, tmp_path / "broken")
    assert same(whole.state_dict(), resumed.state_dict())
    assert result.history == expected.history
    assert all(same(result.snapshots[step], expected.snapshots[step]) for step in (3, 6))


def test_adaptive_augmentation_resumes_between_two_changes_of_p(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Stopped after step 6, when p is above 0 and the signs of two steps wait for step 8."""
    whole, broken, resumed = (build(ada_target=0.6, ada_images=64, steps=10) for _ in range(3))
    for model in (whole, broken, resumed):
        force_signs(model, 1e4, monkeypatch)
    expected = trained(whole, tmp_path / "whole", steps=10)
    interrupt(broken, 7, monkeypatch)
    with pytest.raises(KeyboardInterrupt):
        trained(broken, tmp_path / "broken", steps=10)
    assert broken.ada.p == 0.25 and broken.ada.signs > 0
    result = trained(resumed, tmp_path / "broken", steps=10)
    assert [row["ada_p"] for row in result.history] == [0.0] * 3 + [0.25] * 4 + [0.5] * 3
    assert result.history == expected.history and same(whole.state_dict(), resumed.state_dict())


@pytest.mark.parametrize("shape", [(4, 16, 12, 3), (4, 28, 28, 3), (4, 4, 4, 3), (4, 16, 16, 1)])
def test_images_that_no_network_fits_are_refused_in_one_line(shape: tuple[int, ...]) -> None:
    with pytest.raises(UserError, match="power of two"):
        image_size(np.zeros(shape, np.uint8), NETWORK)


def test_an_attention_layer_beyond_the_network_is_refused() -> None:
    network = NETWORK.model_copy(update={"attention_layers": [4]})
    with pytest.raises(UserError, match="must not exceed 3 at 16x16"):
        image_size(faces(), network)
