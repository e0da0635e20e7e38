"""Self-ensembling does what its publication says, term by term."""

import copy
import math

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from stages.adaptation import method
from stages.adaptation.methods import mean_teacher
from stages.adaptation.methods.mean_teacher import Classifier, Dropout, changed, class_balance, confident, standardised
from stages.runtime import parallel
from stages.runtime.seeding import seed_step
from tests.adaptation.test_adaptation_methods import SETTINGS, make


def pictures(n=4):
    return torch.rand(n, 3, 28, 28, generator=torch.Generator().manual_seed(0)) * 2 - 1


def update(model, step=2):
    """What student and teacher are given and give, and what the update returns and descends."""
    seen, losses = {}, []
    for name in ("student", "teacher"):
        getattr(model, name).register_forward_hook(
            lambda _, images, logits, name=name: seen.update({name: (images[0].detach(), logits.detach())})
        )
    descend = model.descend
    model.descend = lambda loss: losses.append(loss.item()) or descend(loss)
    seed_step(0, step)
    values = {name: value.item() for name, value in model.update(step).items()}
    return seen, values, losses[0]


@pytest.fixture
def still(monkeypatch):
    """Images stay where they are, and without noise."""
    monkeypatch.setitem(SETTINGS, "mean_teacher", SETTINGS["mean_teacher"].model_copy(update={"warp": False, "noise": 0.0}))


def test_every_image_is_standardised_by_itself():
    images = pictures() * torch.tensor([0.1, 1.0, 0.5, 0.0]).view(4, 1, 1, 1) + 0.3
    result = standardised(images)
    for one in result[:3]:
        assert one.mean().item() == pytest.approx(0, abs=1e-5) and one.std(correction=0).item() == pytest.approx(1, rel=1e-4)
    torch.testing.assert_close(result[1], (images[1] - images[1].mean()) / images[1].std(correction=0), rtol=1e-4, atol=1e-4)
    assert result[3].abs().max().item() == 0


def test_predictions_do_not_depend_on_brightness_and_contrast():
    model, images = make("mean_teacher"), pictures()
    torch.testing.assert_close(model.predict(images * 0.5 + 0.2), model.predict(images), rtol=1e-3, atol=1e-4)


def test_weights_tell_whether_their_images_are_standardised(still):
    model, usual, images = make("mean_teacher", standardise=False), make("mean_teacher"), pictures()
    seen, _, _ = update(model)
    torch.testing.assert_close(seen["teacher"][0], model.batches.unlabelled(2))
    reader, entered = mean_teacher.Method(), []
    for weights, expected in ((model, images), (usual, standardised(images)), (model, images)):
        reader.load_state_dict(weights.state_dict())
        assert reader.state_dict().keys() == weights.state_dict().keys()
        reader.teacher.register_forward_pre_hook(lambda _, given: entered.append(given[0]))
        reader.predict(images)
        assert torch.equal(entered[-1], expected)


def test_class_balance_is_the_sum_of_cross_entropies_with_an_equal_share():
    probabilities = torch.tensor([[0.7, 0.2, 0.1], [0.5, 0.4, 0.1]])
    share = np.array([0.6, 0.3, 0.1])
    expected = -(np.log(share) / 3 + np.log(1 - share) * 2 / 3).sum()
    assert class_balance(probabilities).item() == pytest.approx(expected, rel=1e-5)
    equal = class_balance(torch.full((5, 3), 1 / 3)).item()
    assert equal == pytest.approx(3 * (math.log(3) / 3 + math.log(1.5) * 2 / 3), rel=1e-5) and equal < expected
    assert math.isfinite(class_balance(torch.tensor([[1.0, 0.0]])).item())


def test_only_images_of_which_the_teacher_is_sure_count():
    probabilities = torch.tensor([[0.97, 0.03], [0.96, 0.04], [0.01, 0.99], [0.5, 0.5]])
    assert confident(probabilities, 0.968).tolist() == [1, 0, 1, 0]
    assert confident(torch.tensor([[0.5, 0.5]]), 0.5).item() == 0


@pytest.mark.parametrize("share", [0.0, 0.5, 1.0])
def test_the_loss_is_that_of_the_publication(share):
    most = sorted(update(make("mean_teacher"))[0]["teacher"][1].softmax(1).amax(1).tolist())
    threshold = {0.0: 1.0, 0.5: most[1], 1.0: 0.0}[share]
    model = make("mean_teacher", confidence=threshold, balance_weight=0.5)
    seen, values, loss = update(model)
    source, target = seen["student"][1].chunk(2)
    target, teacher = target.softmax(1), seen["teacher"][1].softmax(1)
    sure = [row.max().item() > threshold for row in teacher]
    squares = [(ours - theirs).square().mean().item() for ours, theirs in zip(target, teacher, strict=True)]
    assert sum(sure) / 4 == share
    expected = {
        "class_loss": F.cross_entropy(source, model.batches.labelled(2)[1]).item(),
        "consistency_loss": sum(square for square, kept in zip(squares, sure, strict=True) if kept) / 4,
        "balance_loss": class_balance(target).item() * share,
        "class_accuracy": (source.argmax(1) == model.batches.labelled(2)[1]).float().mean().item(),
        "confident_share": share,
    }
    assert values == pytest.approx(expected, rel=1e-5, abs=1e-9)
    weighted = expected["class_loss"] + 3 * (expected["consistency_loss"] + 0.5 * expected["balance_loss"])
    assert loss == pytest.approx(weighted, rel=1e-5)


def test_no_gradient_reaches_the_teacher_and_the_optimiser_does_not_know_it():
    model = make("mean_teacher")
    update(model)
    assert all(weights.grad is None for weights in model.teacher.parameters())
    known = {id(weights) for group in model.optimizers["adam"].param_groups for weights in group["params"]}
    assert known == {id(weights) for weights in model.student.parameters()}


def test_the_teacher_is_the_moving_average_of_the_student_s_parameters():
    model = make("mean_teacher")
    before = copy.deepcopy(model.teacher)
    assert all(map(torch.equal, before.parameters(), model.student.parameters()))
    update(model)
    for was, ours, theirs in zip(*(one.parameters() for one in (before, model.teacher, model.student)), strict=True):
        torch.testing.assert_close(ours, 0.9 * was + 0.1 * theirs, rtol=1e-4, atol=1e-6)


def test_the_teacher_s_batch_norm_knows_the_target_alone_and_is_no_average_of_the_student_s():
    model = make("mean_teacher")
    first = torch.nn.Sequential(*copy.deepcopy(list(model.teacher.encoder)[:2]))
    seen, _, _ = update(model)
    source, target = seen["student"][0].chunk(2)
    for network, batches in ((model.teacher, [seen["teacher"][0]]), (model.student, [source, target])):
        expected = copy.deepcopy(first)
        for batch in batches:
            expected(batch)
        norm = network.encoder[1]
        torch.testing.assert_close(norm.running_mean, expected[1].running_mean, rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(norm.running_var, expected[1].running_var, rtol=1e-4, atol=1e-5)
        assert norm.num_batches_tracked == len(batches)
    assert not torch.allclose(model.teacher.encoder[1].running_mean, model.student.encoder[1].running_mean, atol=1e-4)


def test_each_domain_is_normalised_as_if_it_came_alone():
    torch.manual_seed(0)
    network = Classifier(4)
    for module in network.modules():
        if isinstance(module, Dropout):
            module.forward = lambda features, domains=1: features
    alone, batch = copy.deepcopy(network), torch.cat([pictures(), 3 * pictures() - 1])
    torch.testing.assert_close(
        network(batch, domains=2), torch.cat([alone(part) for part in batch.chunk(2)]), rtol=1e-4, atol=1e-4
    )
    for ours, theirs in zip(network.buffers(), alone.buffers(), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("separate", [True, False])
def test_batch_norm_sees_the_domains_one_by_one_or_together(separate, monkeypatch):
    model = make("mean_teacher", separate_batch_norm=separate)
    asked, normalised = [], mean_teacher.normalised
    monkeypatch.setattr(mean_teacher, "normalised", lambda *given: asked.append((len(given[1]), given[2])) or normalised(*given))
    half = len(model.batches.unlabelled(2))
    update(model)
    # Nine layers each; the teacher sees source images only where its statistics are to be those of both.
    assert asked == ([(2 * half, 2)] * 9 + [(half, 1)] * 9 if separate else [(2 * half, 1)] * 18)


def test_the_teacher_is_asked_about_target_images_also_where_it_sees_both(still):
    model = make("mean_teacher", separate_batch_norm=False, confidence=0.0)
    seen, values, _ = update(model)
    images, logits = seen["teacher"]
    torch.testing.assert_close(images.chunk(2)[1], standardised(model.batches.unlabelled(2)), rtol=1e-4, atol=1e-4)
    believed, target = (seen[name][1].chunk(2)[1].softmax(dim=1) for name in ("teacher", "student"))
    assert values["consistency_loss"] == pytest.approx((believed - target).square().mean().item(), rel=1e-4)
    assert len(logits) == len(images)


def test_student_and_teacher_see_the_same_images_changed_in_different_ways(still):
    model = make("mean_teacher", intensity=True)
    seen, _, _ = update(model)
    ours, theirs = seen["student"][0].chunk(2)[1], seen["teacher"][0]
    for one, other in zip(ours, theirs, strict=True):
        assert not torch.allclose(one, other, atol=1e-2)
        # Up to scale and offset they are one image.
        assert abs(np.corrcoef(one.flatten(), other.flatten())[0, 1]) == pytest.approx(1, abs=1e-4)


def test_source_images_are_augmented_first_and_standardised_then(still):
    model = make("mean_teacher")
    images, _ = model.batches.labelled(2)
    model.batches.augment = lambda pictures: pictures.square()
    source, target = update(model)[0]["student"][0].chunk(2)
    torch.testing.assert_close(source, standardised(images.square()), rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(target, standardised(model.batches.unlabelled(2)), rtol=1e-4, atol=1e-4)


def test_intensity_scales_moves_and_inverts():
    images = standardised(pictures()).repeat(100, 1, 1, 1)
    torch.manual_seed(0)
    result = changed(images, intensity=True, warp=False, noise=0.0)
    scales = (result * images).mean(dim=(1, 2, 3))
    offsets = result.mean(dim=(1, 2, 3))
    torch.testing.assert_close(result, images * scales.view(-1, 1, 1, 1) + offsets.view(-1, 1, 1, 1), rtol=1e-3, atol=1e-3)
    assert 0.4 < (scales < 0).float().mean() < 0.6
    assert 0.249 < scales.abs().min() < 0.3 and 1.45 < scales.abs().max() < 1.501
    assert -0.501 < offsets.min() < -0.45 and 0.45 < offsets.max() < 0.501
    assert torch.equal(changed(images, intensity=False, warp=False, noise=0.0), images)


@pytest.mark.parametrize(("drawn", "rows"), [(1.0, (slice(2, None), slice(None, -2))), (0.0, (slice(None, -2), slice(2, None)))])
def test_images_move_by_up_to_two_pixels_and_zeros_come_in(drawn, rows, monkeypatch):
    monkeypatch.setattr(mean_teacher, "AFFINE", 0.0)
    monkeypatch.setattr(parallel, "rand", lambda *shape, device: torch.full(shape, drawn))
    images, (known, left) = pictures(), rows
    expected = torch.zeros_like(images)
    expected[:, :, left, left] = images[:, :, known, known]
    torch.testing.assert_close(changed(images, intensity=False, warp=True, noise=0.0), expected, rtol=1e-3, atol=1e-3)


def test_warps_and_noise_have_their_size(monkeypatch):
    torch.manual_seed(0)
    noise = changed(torch.zeros(50, 3, 28, 28), intensity=False, warp=True, noise=0.1)
    assert noise.std().item() == pytest.approx(0.1, rel=0.02)
    matrices = []
    grid = F.affine_grid
    monkeypatch.setattr(F, "affine_grid", lambda theta, *more, **options: matrices.append(theta) or grid(theta, *more, **options))
    changed(torch.zeros(2000, 3, 4, 4), intensity=False, warp=True, noise=0.1)
    away = matrices[0][:, :, :2] - torch.eye(2)
    assert away.std(dim=0).flatten().tolist() == pytest.approx([0.1] * 4, rel=0.1)
    assert away.mean(dim=0).flatten().tolist() == pytest.approx([0.0] * 4, abs=0.01)


def test_the_network_of_the_publication_has_its_numbers_of_channels():
    encoder = Classifier(128).encoder
    shapes = [tuple(layer.weight.shape) for layer in encoder if isinstance(layer, torch.nn.Conv2d)]
    channels = [128, 128, 128, 256, 256, 256, 512, 256, 128]
    kernels = [3] * 7 + [1] * 2
    before = [3, *channels[:-1]]
    assert shapes == [(out, into, side, side) for out, into, side in zip(channels, before, kernels, strict=True)]
    # All but the biases of the convolutions, which batch norm takes away.
    assert sum(weights.numel() for weights in Classifier(128).parameters()) == 3_121_802


def test_dropout_takes_single_values_and_keeps_the_mean():
    torch.manual_seed(0)
    drop, features = Dropout().train(), torch.ones(20, 8, 10, 10)
    dropped = drop(features, domains=2)
    assert set(dropped.unique().tolist()) == {0.0, 2.0} and dropped.mean().item() == pytest.approx(1, abs=0.05)
    assert all(0 < channel.mean() < 2 for image in dropped for channel in image)
    assert drop.eval()(features) is features


def test_a_classifier_takes_weights_of_any_width():
    model = make("mean_teacher", width=4)
    update(model)
    other = method.named("mean_teacher")()
    other.load_state_dict(model.state_dict())
    assert torch.equal(other.predict(pictures()), model.predict(pictures()))
    assert model.embed(pictures()).shape == (4, 4)


def test_the_learning_rate_falls_at_the_end():
    model = make("mean_teacher", lr_decay=0.5)
    rates = []
    for step in (1, 3, 4):
        update(model, step)
        rates.append(model.optimizers["adam"].param_groups[0]["lr"])
    assert rates == pytest.approx([0.001, 0.001, 0.0005])


def test_the_balance_of_no_numbers_is_none_so_that_the_loop_can_say_that_training_diverged():
    assert class_balance(torch.full((4, 10), torch.nan)).isnan()
