"""Every method behaves the same way from outside, and learns as its paper says inside."""

import re
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from stages.adaptation import augment, losses
from stages.adaptation.method import METHODS, Batches, in_batches, named
from stages.runtime import params, schema
from stages.runtime.batches import Feed
from stages.runtime.errors import UserError
from stages.runtime.resume import ResumeState
from stages.runtime.seeding import seed_step
from stages.runtime.training import train

COLUMNS = {
    "source_only": ["class_loss", "class_accuracy"],
    "target_only": ["class_loss", "class_accuracy"],
    "dann": ["class_loss", "domain_loss", "class_accuracy", "lambda"],
    "dsn": ["class_loss", "reconstruction_loss", "difference_loss", "similarity_loss", "class_accuracy", "lambda"],
    "mean_teacher": ["class_loss", "consistency_loss", "balance_loss", "class_accuracy", "confident_share"],
}
COMMON = schema.Common(batch_size=4, lr=0.001, beta1=0.9, beta2=0.999, precision="fp32", snapshots=2, selection="last")
SMOKE = params.load(Path(__file__).parents[2] / "presets/smoke.yaml").adaptation
SETTINGS = {name: getattr(SMOKE, name).model_copy(update={"steps": 4}) for name in METHODS} | {
    "source_only": schema.SourceOnly(steps=4, lambda_steps=None),
    "target_only": schema.TargetOnly(steps=4, lambda_steps=None, share=1.0),
    "dann": schema.Dann(steps=4, lambda_steps=4),
    "dsn": SMOKE.dsn.model_copy(update={"steps": 4, "lambda_steps": 4, "similarity_start": 1}),
    "mean_teacher": SMOKE.mean_teacher.model_copy(
        update={"steps": 4, "width": 32, "ema_decay": 0.9, "intensity": False, "lr_decay": 0.0}
    ),
}
CODES = {"mean_teacher": SETTINGS["mean_teacher"].width}
# Its augmentation moves bars to a neighbour's place, and its codes are means over all places: such images are hard for it.
UPDATES = {"mean_teacher": 75}
every_method = pytest.mark.parametrize("name", METHODS)


def images(n, seed):
    """Noise with a bright bar whose place tells the digit, index % 10, so that it can be learnt."""
    pictures = torch.randint(0, 80, (n, 28, 28, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(seed))
    for index, picture in enumerate(pictures):
        picture[:, 2 * (index % 10) + 2 : 2 * (index % 10) + 6] = 255
    return pictures.numpy()


def feed(pictures, name):
    return Feed(pictures, 4, seed=0, name=name, place=torch.device("cpu"), resident_gb=1.0)


def make(name, seed=0, *, compiled=False, **changes):
    seed_step(seed, "init")
    model = named(name)()
    target = feed(images(20, 2), "target") if name not in ("source_only", "target_only") else None
    batches = Batches(feed(images(20, 1), "source"), torch.arange(20) % 10, target, augment.named("none"))
    model.start(batches, COMMON, SETTINGS[name].model_copy(update=changes), compiled=compiled)
    return model


def trained(name, folder, seed=0, steps=4):
    model = make(name, seed)
    result = train(
        model,
        run=name,
        seed=seed,
        steps=steps,
        images_per_step=8,
        snapshots=2,
        state=ResumeState(f"{name}-{folder}", None, []),
    )
    return model, result


@pytest.fixture(autouse=True)
def resume_elsewhere(tmp_path, monkeypatch):
    monkeypatch.setenv("RESUME_DIR", str(tmp_path / "resume"))


@every_method
def test_predicts_logits_and_codes_in_evaluation_mode(name):
    model = make(name)
    batch = torch.rand(6, 3, 28, 28) * 2 - 1
    assert model.predict(batch).shape == (6, 10)
    assert model.embed(batch).shape == (6, CODES.get(name, 512))
    assert torch.equal(model.predict(batch), model.predict(batch))
    torch.testing.assert_close(model.predict(batch)[:2], model.predict(batch[:2]))
    assert model.training


def test_dsn_predicts_and_embeds_by_its_shared_encoder_alone():
    model = make("dsn")
    batch = torch.rand(6, 3, 28, 28) * 2 - 1
    before = model.predict(batch), model.embed(batch)
    network = model.network
    for part in (network.private_source, network.private_target, network.decoder, network.domain_head):
        for parameter in part.parameters():
            torch.nn.init.normal_(parameter)
    assert torch.equal(model.predict(batch), before[0]) and torch.equal(model.embed(batch), before[1])
    for parameter in network.shared.parameters():
        torch.nn.init.normal_(parameter)
    assert not torch.equal(model.predict(batch), before[0]) and not torch.equal(model.embed(batch), before[1])


@every_method
def test_adam_is_given_the_params_betas_and_dsn_its_weight_decay(name):
    model = make(name)
    changes = {"weight_decay": 0.1} if name == "dsn" else {}
    settings = SETTINGS[name].model_copy(update=changes)
    model.start(model.batches, COMMON.model_copy(update={"beta1": 0.5, "beta2": 0.9}), settings)
    [group] = model.optimizers["adam"].param_groups
    assert (group["betas"], group["weight_decay"], group["lr"]) == ((0.5, 0.9), changes.get("weight_decay", 0.0), COMMON.lr)


@every_method
def test_a_classifier_needs_no_training_data_to_predict(name):
    assert named(name)().predict(torch.zeros(2, 3, 28, 28)).shape == (2, 10)


@every_method
def test_an_update_changes_every_parameter(name):
    model = make(name)
    before = {key: value.clone() for key, value in model.named_parameters()}
    for step in (1, 2):
        seed_step(0, step)
        model.update(step)
    assert [key for key, value in model.named_parameters() if torch.equal(value, before[key])] == []


@every_method
def test_updates_learn_a_tiny_training_set(name):
    torch.manual_seed(0)
    model = make(name)
    model.batches.source.size = 10
    if model.batches.target is not None:
        model.batches.target.size = 10
    class_losses = []
    for step in range(1, UPDATES.get(name, 25) + 1):
        seed_step(0, step)
        class_losses.append(model.update(min(step, 4))["class_loss"].item())
    assert class_losses[0] > 2
    assert sum(class_losses[-3:]) / 3 < 1.5


@every_method
def test_same_seed_gives_same_weights_and_another_seed_others(name):
    runs = [trained(name, f"{number}-{seed}", seed)[0].state_dict() for number, seed in enumerate((0, 0, 1))]
    assert all(torch.equal(runs[0][key], runs[1][key]) for key in runs[0])
    heads = [key for key in runs[0] if re.fullmatch(r".*class_head\.(0\.)?weight", key)]
    assert heads and not any(torch.equal(runs[1][key], runs[2][key]) for key in heads)


@every_method
def test_a_resumed_training_equals_an_uninterrupted_one_bit_for_bit(name, monkeypatch):
    assert_resumes_bit_for_bit(name, monkeypatch)


def assert_resumes_bit_for_bit(name, monkeypatch):
    whole, result = trained(name, "whole")
    model = make(name)
    state = ResumeState("halves", None, [])
    monkeypatch.setattr(model, "update", stop_at(model.update, 4))
    arguments = {
        "run": name,
        "seed": 0,
        "steps": 4,
        "images_per_step": 8,
        "snapshots": 2,
        "state": state,
        "save_every_seconds": -1.0,
    }
    with pytest.raises(KeyboardInterrupt):
        train(model, **arguments)
    resumed = make(name, seed=7)
    again = train(resumed, **arguments)
    assert all(torch.equal(value, resumed.state_dict()[key]) for key, value in whole.state_dict().items())
    assert again.history == result.history
    assert all(torch.equal(value, again.snapshots[2][key]) for key, value in result.snapshots[2].items())


def stop_at(update, last):
    def stopping(step):
        if step == last:
            raise KeyboardInterrupt
        return update(step)

    return stopping


@every_method
def test_history_names_the_losses_first_and_always_the_same(name, tmp_path):
    _, result = trained(name, "history")
    step, *columns = result.history[0]
    # README's example of a new method stands in no list here.
    assert name in COLUMNS or name == "coral"
    assert step == "step" and columns == COLUMNS.get(name, columns)
    losses_first = [column.endswith("_loss") for column in columns]
    assert losses_first[0] and losses_first == sorted(losses_first, reverse=True)
    assert all(row.keys() == result.history[0].keys() for row in result.history)
    assert list(result.snapshots) == [2, 4]
    assert result.snapshots[4].keys() == named(name)().state_dict().keys()


@every_method
def test_scoring_in_batches_of_any_size_keeps_the_order(name):
    model = make(name)
    pictures = images(7, 3)
    torch.testing.assert_close(in_batches(model.predict, pictures, 3), in_batches(model.predict, pictures, 7))


@pytest.mark.parametrize("name", ["dann", "dsn"])
def test_batch_norm_sees_source_and_target_one_after_the_other(name):
    model, expected = make(name), make(name)
    seed_step(0, 1)
    model.update(1)
    encoders = [one.network.encoder if name == "dann" else one.network.shared for one in (model, expected)]
    for pictures in (expected.batches.labelled(1)[0], expected.batches.unlabelled(1)):
        encoders[1](pictures)
    ours, theirs = (dict(encoder[1].named_buffers()) for encoder in encoders)
    assert all(torch.allclose(ours[key], theirs[key], rtol=1e-5, atol=1e-6) for key in theirs)
    assert ours["num_batches_tracked"] == 2


def test_dann_records_the_lambda_of_its_step():
    model = make("dann")
    assert [model.update(step)["lambda"].item() for step in (1, 2, 4, 9)] == pytest.approx(
        [losses.reversal_strength(share) for share in (0.25, 0.5, 1.0, 1.0)]
    )


@pytest.mark.parametrize("name", ["dann", "dsn"])
def test_both_domains_reach_the_domain_head_with_reversed_gradients(name, monkeypatch):
    reversals, domains = [], []
    reverse, loss = losses.reverse_gradient, losses.domain_loss
    monkeypatch.setattr(losses, "reverse_gradient", lambda codes, by: reversals.append((len(codes), by)) or reverse(codes, by))
    monkeypatch.setattr(losses, "domain_loss", lambda logits, domain: domains.append(domain) or loss(logits, domain))
    strength = make(name).update(2)["lambda"].item()
    assert reversals == [(8, pytest.approx(strength))] and strength > 0
    assert domains == [0, 1]


def test_a_reversed_gradient_is_the_plain_one_times_minus_lambda():
    model = make("dann")
    codes = torch.rand(4, 512, requires_grad=True)
    head = model.network.domain_head
    plain = torch.autograd.grad(losses.domain_loss(head(codes), 0), codes)[0]
    against = torch.autograd.grad(losses.domain_loss(head(losses.reverse_gradient(codes, 0.5)), 0), codes)[0]
    torch.testing.assert_close(against, -0.5 * plain)


def test_dsn_starts_its_similarity_after_the_step_in_the_params():
    model = make("dsn")
    first, second = model.update(1), model.update(2)
    assert first["similarity_loss"].item() == first["lambda"].item() == 0.0
    assert second["similarity_loss"].item() > 0.5
    assert second["lambda"].item() == pytest.approx(losses.reversal_strength(1 / 3))


def test_dsn_s_domain_head_rests_until_similarity_starts():
    model = make("dsn")
    before = {key: value.clone() for key, value in model.network.domain_head.state_dict().items()}
    model.update(1)
    assert all(torch.equal(value, before[key]) for key, value in model.network.domain_head.state_dict().items())


def test_dsn_s_learning_rate_falls_continuously():
    model = make("dsn")
    model.update(3)
    assert model.optimizers["adam"].param_groups[0]["lr"] == pytest.approx(0.001 * 0.9 ** (3 / 20000))
    assert model.lr(20000) == pytest.approx(0.0009)
    assert model.lr(40000) == pytest.approx(0.00081)


def test_dsn_weighs_its_losses_as_the_params_say(monkeypatch):
    model = make("dsn")
    sums = []
    monkeypatch.setattr(model, "descend", lambda loss: sums.append(loss.item()))
    values = {key: value.item() for key, value in model.update(3).items()}
    assert sums[0] == pytest.approx(
        values["class_loss"]
        + 0.015 * values["reconstruction_loss"]
        + 0.075 * values["difference_loss"]
        + 0.25 * values["similarity_loss"],
        rel=1e-5,
    )


def test_source_only_is_a_cross_entropy_of_its_batch():
    model = make("source_only")
    model.eval()
    torch.manual_seed(3)
    values = model.update(1)
    torch.manual_seed(3)
    expected = make("source_only").eval()
    torch.manual_seed(3)
    pictures, labels = expected.batches.labelled(1)
    torch.testing.assert_close(values["class_loss"], F.cross_entropy(expected(pictures), labels).detach())


@pytest.mark.parametrize("name", ["source_only", "target_only"])
def test_with_a_lambda_the_network_is_dann_s_drawn_as_dann_draws_it(name):
    model, dann = make(name, lambda_steps=4), make("dann")
    ours, theirs = model.state_dict(), dann.network.state_dict()
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[key], theirs[key]) for key in ours)
    assert sum(parameter.numel() for parameter in model.parameters()) == 600_490
    seed_step(0, 1)
    model.update(1)
    after = model.state_dict()
    assert [key for key, _ in model.named_parameters() if torch.equal(after[key], theirs[key])] == []


def test_with_a_lambda_a_step_is_dann_s_without_its_target_terms(monkeypatch):
    model, dann = make("source_only", lambda_steps=4), make("dann")
    for one in (model, dann):
        one.eval()
    seed_step(0, 2)
    values = model.update(2)
    seed_step(0, 2)
    pictures, labels = dann.batches.labelled(2)
    codes = dann.encode(pictures)
    class_loss = F.cross_entropy(dann.network.class_head(codes), labels)
    domain_loss = F.cross_entropy(dann.network.domain_head(codes), torch.zeros(4, dtype=torch.long))
    strength = losses.reversal_strength(0.5)
    torch.testing.assert_close(values["class_loss"], class_loss.detach())
    torch.testing.assert_close(values["domain_loss"], domain_loss.detach())
    assert list(values) == COLUMNS["dann"] and values["lambda"].item() == pytest.approx(strength)
    encoder, head = list(dann.network.encoder.parameters()), list(dann.network.domain_head.parameters())
    pulls = [torch.autograd.grad(loss, encoder, retain_graph=True) for loss in (class_loss, domain_loss)]
    for parameter, by_class, by_domain in zip(model.encoder.parameters(), *pulls, strict=True):
        torch.testing.assert_close(parameter.grad, by_class - strength * by_domain, rtol=1e-4, atol=1e-6)
    for parameter, plain in zip(model.domain_head.parameters(), torch.autograd.grad(domain_loss, head), strict=True):
        torch.testing.assert_close(parameter.grad, plain, rtol=1e-4, atol=1e-6)


def test_without_a_lambda_there_is_no_domain_head():
    model = make("source_only")
    assert {key.split(".")[0] for key in model.state_dict()} == {"encoder", "class_head"}
    model.update(1)
    assert {key.split(".")[0] for key in model.state_dict()} == {"encoder", "class_head"}


@pytest.mark.parametrize("lambda_steps", [None, 4])
def test_a_classifier_that_was_never_started_takes_the_weights_of_either_kind(lambda_steps):
    model = make("source_only", lambda_steps=lambda_steps)
    model.update(1)
    other = named("source_only")()
    other.load_state_dict(model.state_dict())
    pictures = torch.rand(2, 3, 28, 28)
    assert torch.equal(other.predict(pictures), model.predict(pictures))
    assert other.state_dict().keys() == model.state_dict().keys()


@pytest.mark.parametrize("changes", [{"separate_batch_norm": False}, {"standardise": False}, {"intensity": True}])
def test_a_resumed_training_of_self_ensembling_s_other_forms_equals_an_uninterrupted_one(changes, monkeypatch):
    monkeypatch.setitem(SETTINGS, "mean_teacher", SETTINGS["mean_teacher"].model_copy(update=changes))
    assert_resumes_bit_for_bit("mean_teacher", monkeypatch)


def test_a_resumed_training_with_a_domain_head_equals_an_uninterrupted_one(monkeypatch):
    monkeypatch.setitem(SETTINGS, "source_only", SETTINGS["source_only"].model_copy(update={"lambda_steps": 4}))
    assert_resumes_bit_for_bit("source_only", monkeypatch)


def test_the_bound_learns_from_the_same_part_of_the_target_with_every_seed():
    feeds = [make("target_only", seed, share=0.75).batches.source for seed in (0, 1)]
    assert len(make("target_only").batches.source) == 20
    for one in feeds:
        assert len(one) == 15
        assert np.array_equal(one.rows, feeds[0].rows)
        assert one.rows.tolist() == sorted(set(one.rows.tolist()))
        drawn = torch.cat([one.at(step)[1] for step in range(1, 60)])
        assert set(drawn.tolist()) == set(one.rows.tolist())
    assert len(make("target_only", share=0.001).batches.source) == 1


def test_the_bound_s_part_keeps_its_labels():
    batches = make("target_only", share=0.5).batches
    pictures, labels = batches.labelled(1)
    bars = ((pictures + 1) * 127.5).round()[:, 0].eq(255).all(dim=1).int().argmax(dim=1)
    assert torch.equal(bars, 2 * labels + 2)


@pytest.mark.parametrize("name", ["images", "common", "no_such", "../dann"])
def test_a_name_that_is_no_method_is_refused_in_one_line(name):
    with pytest.raises(UserError, match="no adaptation method"):
        named(name)
