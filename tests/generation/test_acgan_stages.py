"""stages.generation.train_acgan and sample_acgan: the step, repeatability, resuming, and the files they leave."""

import multiprocessing
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

from stages.generation import sample_acgan, train_acgan
from stages.generation.acgan import Generator
from stages.generation.acgan_images import crop, enlarge, pad, render
from stages.generation.train_acgan import ACGAN
from stages.runtime import params, schema
from stages.runtime.errors import UserError
from stages.runtime.images import load_arrays, save_arrays
from stages.runtime.resume import ResumeState
from stages.runtime.seeding import seed_step
from stages.runtime.training import train
from stages.runtime.weights import read_weights

CPU = torch.device("cpu")
ROOT = Path(__file__).parents[2]
LAPTOP = params.load(ROOT / "presets/laptop.yaml")
TINY = {
    "steps": 4,
    "batch_size": 4,
    "precision": "fp32",
    "snapshots": 2,
    "objective": "logits",
    "ema_decay": 0.5,
    "fake_class_weight": 1.0,
    "generator_class_weight": 1.0,
    "fit": "resize",
    "augment": [],
}


def settings(**changes) -> schema.ACGANTrain:
    return LAPTOP.acgan.train.model_copy(update=TINY | changes)


def digits(count: int = 40) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(0)
    return generator.integers(0, 256, (count, 28, 28, 3), dtype=np.uint8), np.arange(count, dtype=np.int64) % 10


def tiny_model(seed: int = 0, training: schema.Training | None = None, **changes) -> ACGAN:
    return ACGAN(*digits(), settings(**changes), seed, CPU, training or LAPTOP.training)


def train_tiny(folder: Path, seed: int = 0, model: ACGAN | None = None, **changes):
    model = model or tiny_model(seed, **changes)
    state = ResumeState("acgan", str(changes), [])
    state.folder = folder
    done = train(
        model, run="acgan", seed=seed, steps=4, images_per_step=4, snapshots=1, state=state, records=4, save_every_seconds=0
    )
    return model.state_dict(), done


def same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


@pytest.fixture
def place(tmp_path, monkeypatch):
    """An empty folder to run the stages in, with digits and tiny params."""
    content = yaml.safe_load((ROOT / "presets/laptop.yaml").read_text())
    content["acgan"]["train"] |= TINY
    content["acgan"]["sample"] |= {"per_class": 4, "form": "clean"}
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(content))
    images, labels = digits()
    save_arrays(tmp_path / f"data/prepared/{content['acgan']['dataset']}.npz", train_images=images, train_labels=labels)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_one_step_sends_real_and_generated_images_through_the_discriminator_separately():
    model, seen = tiny_model(), []
    model.discriminator.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].detach().clone()))
    seed_step(0, 1)
    model.update(1)
    assert [len(images) for images in seen] == [4, 4, 4]
    generator_step, real, fake = seen
    assert torch.equal(generator_step, fake)
    stored = enlarge(torch.from_numpy(digits()[0]))
    assert all((stored - image).abs().amax(dim=(1, 2, 3)).min() < 1e-6 for image in real)


def test_padded_digits_are_what_the_discriminator_sees_and_snapshots_are_cropped():
    model, seen = tiny_model(fit="pad"), []
    model.discriminator.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].detach().clone()))
    seed_step(0, 1)
    model.update(1)
    assert torch.equal(seen[1], pad(model.feed.at(1)[0]))
    labels = torch.arange(10).repeat_interleave(10)
    # Sheet and snapshot come ten of each class together, in eval mode.
    whole = model.average.eval()(model.fixed_latents, labels)
    assert np.array_equal(model.snapshot()["images"].numpy(), crop(whole))


def test_the_discriminator_sees_generated_and_real_images_augmented_each_time_anew():
    model, made, seen = tiny_model(batch_size=40, augment=["cutout"]), [], []
    model.generator.register_forward_hook(lambda _, inputs, images: made.append(images.detach().clone()))
    model.discriminator.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].detach().clone()))
    seed_step(0, 1)
    model.update(1)
    stored = enlarge(torch.from_numpy(digits()[0])[model.feed.at(1)[1]])
    holes = []
    for before, after in zip((made[0], stored, made[0]), seen, strict=True):
        grey = (after == 0).all(dim=1, keepdim=True)
        torch.testing.assert_close(after, before.masked_fill(grey, 0), rtol=0, atol=1e-6)
        assert grey.any(dim=(1, 2, 3)).all()
        holes.append(grey)
    assert not torch.equal(holes[0], holes[2])


def test_labels_asked_for_are_drawn_uniformly_and_anew_in_every_step():
    model, drawn = tiny_model(batch_size=40), []
    model.step = lambda real, real_labels, latents, labels: drawn.append(labels)
    for step in range(1, 251):
        seed_step(0, step)
        model.update(step)
    assert len({tuple(labels.tolist()) for labels in drawn}) == 250
    # Of 10,000 labels, 1,000 +- 30 of each class.
    counts = torch.cat(drawn).bincount(minlength=10)
    assert len(counts) == 10 and counts.min() > 880 and counts.max() < 1120


@pytest.mark.parametrize(("still", "other"), [("discriminator", "generator"), ("generator", "discriminator")])
def test_the_generator_goes_first_and_neither_step_moves_the_other_network(still, other):
    model, order = tiny_model(**{f"lr_{still}": 1e-30}), []
    for name, optimizer in model.optimizers.items():
        optimizer.register_step_pre_hook(lambda *_, name=name: order.append(name))
    networks = {name: dict(getattr(model, name).named_parameters()) for name in (still, other)}
    before = {name: {key: weight.detach().clone() for key, weight in weights.items()} for name, weights in networks.items()}
    seed_step(0, 1)
    model.update(1)
    assert order == ["generator", "discriminator"]
    for key, weight in networks[still].items():
        torch.testing.assert_close(weight, before[still][key], rtol=0, atol=1e-20)
    assert any(not torch.equal(weight, before[other][key]) for key, weight in networks[other].items())
    assert all(parameter.requires_grad for parameter in model.discriminator.parameters())


def test_losses_of_an_undecided_discriminator_are_the_closed_ones():
    model = tiny_model()
    for head in (model.discriminator.real, model.discriminator.kind):
        head.weight.data.zero_()
        head.bias.data.zero_()
    values = model.update(1)
    expected = (np.log(2) + np.log(10)) / 2
    assert values["loss_generator"].item() == pytest.approx(expected, abs=1e-6)
    assert values["loss_discriminator"].item() == pytest.approx(expected, abs=0.02)


@pytest.mark.parametrize(
    ("weight", "generator", "discriminator"),
    [({"fake_class_weight": 0.0}, (1, 1), (2, 1)), ({"generator_class_weight": 5.0}, (1, 5), (2, 2))],
)
def test_each_weight_of_generated_images_class_loss_is_one_networks_alone(weight, generator, discriminator):
    model = tiny_model(**weight)
    for head in (model.discriminator.real, model.discriminator.kind):
        head.weight.data.zero_()
        head.bias.data.zero_()
    values = model.update(1)
    # How often an undecided discriminator's loss of real or fake, and of the class, are in it.
    undecided = np.array([np.log(2), np.log(10)])
    assert values["loss_generator"].item() == pytest.approx(undecided @ generator / 2, abs=1e-6)
    assert values["loss_discriminator"].item() == pytest.approx(undecided @ discriminator / 4, abs=0.02)


def test_average_is_the_decayed_mean_of_the_generator_and_without_decay_the_generator_itself():
    for decay in (0.5, 0.0):
        model = tiny_model(ema_decay=decay)
        start = model.average.linear.weight.clone()
        seed_step(0, 1)
        model.update(1)
        torch.testing.assert_close(model.average.linear.weight, decay * start + (1 - decay) * model.generator.linear.weight)
        running = model.generator.norm.running_mean
        torch.testing.assert_close(model.average.norm.running_mean, (1 - decay) * running)


def test_learning_rates_fall_at_the_end():
    model = tiny_model(lr_generator=1e-3, lr_discriminator=2e-3, lr_decay=0.5)
    rates = []
    for step in range(1, 5):
        seed_step(0, step)
        model.update(step)
        rates.append([optimizer.param_groups[0]["lr"] for optimizer in model.optimizers.values()])
    assert rates == pytest.approx(np.outer([1, 1, 1, 0.5], [1e-3, 2e-3]))


@pytest.mark.parametrize("changes", [{}, {"objective": "report", "batch_norm_eps": 0.8}, {"precision": "bf16"}])
def test_same_seed_same_weights_and_another_seed_others(tmp_path, changes):
    one, _ = train_tiny(tmp_path / "one", **changes)
    two, _ = train_tiny(tmp_path / "two", **changes)
    three, _ = train_tiny(tmp_path / "three", seed=1, **changes)
    assert same(one, two)
    assert not same(one, three)


def test_an_interrupted_and_resumed_run_equals_an_uninterrupted_one_bit_for_bit(tmp_path):
    weights, whole = train_tiny(tmp_path / "whole")
    model = tiny_model()
    update = model.update

    def interrupted(step: int) -> dict[str, torch.Tensor]:
        if step == 3:
            raise KeyboardInterrupt
        return update(step)

    model.update = interrupted
    with pytest.raises(KeyboardInterrupt):
        train_tiny(tmp_path / "broken", model=model)
    assert (tmp_path / "broken/state.pt").exists()
    resumed_weights, resumed = train_tiny(tmp_path / "broken")
    assert same(weights, resumed_weights)
    assert whole.history == resumed.history
    assert torch.equal(whole.snapshots[4]["images"], resumed.snapshots[4]["images"])


def test_a_data_set_that_streams_from_disk_gives_the_same_weights(tmp_path, monkeypatch):
    monkeypatch.setenv("RESIDENT_GB", "0")
    model = tiny_model()
    assert model.feed.resident is None
    streamed, _ = train_tiny(tmp_path / "streamed", model=model)
    monkeypatch.delenv("RESIDENT_GB")
    assert tiny_model().feed.resident is not None
    resident, _ = train_tiny(tmp_path / "resident")
    assert same(streamed, resident)


def check_compiled() -> None:
    from torch._inductor import config

    # Dropout draws the numbers that it draws otherwise; so finely rounded, no activation falls on the other side of 0.
    config.fallback_random = True
    torch.set_default_dtype(torch.float64)
    torch.Tensor.float = torch.Tensor.double
    model = tiny_model(training=LAPTOP.training.model_copy(update={"compile": True}))
    eager = tiny_model()
    before = {name: tensor.clone() for name, tensor in eager.state_dict().items()}
    for one in (model, eager):
        # Of a bias before batch norm the gradient is nothing but rounding, of which Adam would make a whole step.
        for optimizer in one.optimizers.values():
            optimizer.param_groups[0]["eps"] = 0.01
        for step in (1, 2, 3):
            seed_step(0, step)
            one.update(step)
    compiled, expected = model.state_dict(), eager.state_dict()
    assert compiled.keys() == expected.keys()
    for name, tensor in compiled.items():
        way = (expected[name] - before[name]).double().norm()
        assert way > 0 and (tensor - expected[name]).double().norm() < 1e-5 * way + 1e-12, name
    assert model.generator._compiled_call_impl is not None
    assert model.discriminator._compiled_call_impl is not None


@pytest.mark.slow
def test_compiled_networks_train_and_keep_the_names_of_their_weights():
    # Compiled backward passes start threads, and a process that has them can't be forked by other tests.
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        pool.apply(check_compiled)


def test_stages_leave_weights_snapshots_history_and_ordered_samples(place):
    train_acgan.main(0)
    steps, images = load_arrays("results/acgan-0/snapshots.npz", "steps", "images")
    assert steps.tolist() == [2, 4]
    assert images.shape == (2, 100, 28, 28, 3)
    assert (
        Path("results/acgan-0/history.csv")
        .read_text()
        .startswith("step,loss_generator,loss_discriminator,accuracy_real,accuracy_fake\n")
    )
    assert {name.split(".")[0] for name in read_weights("models/acgan-0/weights.safetensors")} == {
        "generator",
        "average",
        "discriminator",
    }
    assert not list(Path(".resume").glob("*"))
    sample_acgan.main(0)
    images, labels = load_arrays("samples/acgan-0.npz", "images", "labels")
    assert images.shape == (40, 28, 28, 3)
    assert labels.tolist() == [label for label in range(10) for _ in range(4)]


def test_samples_repeat_and_follow_the_seed_and_the_params():
    torch.manual_seed(0)
    generator = Generator()

    def images(seed: int = 0, **changes) -> np.ndarray:
        asked = {"per_class": 3, "batch_norm": "eval", "form": "clean"} | changes
        return sample_acgan.sample(generator, seed, schema.ACGANSample(**asked))[0]

    one = images()
    assert isinstance(one, np.memmap)  # on disk, however many they are
    assert np.array_equal(one, images())
    for other in (images(seed=1), images(batch_norm="batch"), images(form="report")):
        assert not np.array_equal(one, other)


def test_samples_are_those_of_the_moving_average(place):
    train_acgan.main(0)
    sample_acgan.main(0)
    images, _ = load_arrays("samples/acgan-0.npz", "images", "labels")
    model = tiny_model()
    model.load_state_dict(read_weights("models/acgan-0/weights.safetensors"))
    seed_step(0, "samples")
    latents = torch.randn(40, 100)
    assert np.array_equal(images, render(model.average, latents))
    assert not np.array_equal(images, render(model.generator, latents))


@pytest.mark.parametrize("train, sample", [({"batch_norm_eps": 0.8}, {}), ({"fit": "pad"}, {"form": "crop"})])
def test_weights_of_another_form_are_not_sampled_from(place, train, sample):
    train_acgan.main(0)
    content = yaml.safe_load(Path("params.yaml").read_text())
    content["acgan"]["train"] |= train
    content["acgan"]["sample"] |= sample
    Path("params.yaml").write_text(yaml.safe_dump(content))
    with pytest.raises(UserError, match="belongs to another model than the params describe"):
        sample_acgan.main(0)
    assert not Path("samples/acgan-0.npz").exists()


def test_faces_are_refused_in_one_line(place):
    path = next(Path("data/prepared").iterdir())
    images, labels = digits()
    save_arrays(path, train_images=images[:, :20], train_labels=labels)
    with pytest.raises(UserError, match="28x28x3"):
        train_acgan.main(0)
    save_arrays(path, train_images=images, train_labels=labels + 30)
    with pytest.raises(UserError, match="labels 0 to 9"):
        train_acgan.main(0)


def test_without_snapshots_the_sheet_is_empty():
    arrays = train_acgan.stacked({})
    assert arrays["steps"].shape == (0,)
    assert arrays["images"].shape == (0, 100, 28, 28, 3)
