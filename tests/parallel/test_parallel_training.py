"""Several processes train to what one would: batches, latents, batch norms, losses, records, states and ends."""

import os
import signal
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from stages.runtime import parallel, training
from stages.runtime.errors import UserError
from stages.runtime.resume import ResumeState
from tests.parallel.together import TRAINING, assert_alike, together
from tests.parallel.toy import Toy


def test_two_processes_train_to_the_weights_of_one():
    assert_alike(Toy, 20)


def test_so_they_do_where_images_are_streamed():
    assert_alike(lambda: Toy(resident_gb=0.0), 5)


def drawn():
    torch.manual_seed(5)
    one = parallel.rand(2, 3), parallel.randn(2, 3), parallel.randint(9, 2, 3), parallel.randint(9, 2)
    return {name: tensor for name, tensor in zip("abcd", one, strict=True)}


def test_each_process_takes_its_rows_of_the_same_random_numbers():
    first, second = together(2, drawn)
    torch.manual_seed(5)
    whole = torch.rand(4, 3), torch.randn(4, 3), torch.randint(9, (4, 3)), torch.randint(9, (4,))
    for name, expected in zip("abcd", whole, strict=True):
        assert torch.equal(torch.cat([first[name], second[name]]), expected)


def fed(resident_gb):
    return {str(step): Toy(resident_gb).feed.at(step)[1] for step in (1, 2)}


@pytest.mark.parametrize("resident_gb", [1.0, 0.0])
def test_each_process_takes_its_rows_of_the_same_batch(resident_gb):
    [alone], parts = together(1, fed, resident_gb), together(2, fed, resident_gb)
    for step, index in alone.items():
        assert torch.equal(torch.cat([part[step] for part in parts]), index)


def exchanged_gradients():
    sizes, reduce = [], parallel.reduce
    parallel.reduce = lambda tensor, *how: sizes.append(tensor.numel()) or reduce(tensor, *how)
    parameters = [nn.Parameter(torch.zeros(3, 2)), nn.Parameter(torch.zeros(5)), nn.Parameter(torch.zeros(4))]
    for number, parameter in enumerate(parameters[:2]):
        parameter.grad = torch.full_like(parameter, 2.0 * parallel.rank() + number)
    parallel.average_gradients(parameters)
    return {"sizes": torch.tensor(sizes)} | {str(i): parameter.grad for i, parameter in enumerate(parameters[:2])}


def test_gradients_are_averaged_in_one_exchange():
    for found in together(2, exchanged_gradients):
        assert found["sizes"].tolist() == [3 * 2 + 5]
        assert (found["0"] == 1).all() and (found["1"] == 2).all()


def normalised(images, dtype):
    norm = parallel.synchronised(nn.Sequential(nn.BatchNorm2d(3).to(dtype)))[0]
    with torch.no_grad():
        norm.weight.copy_(torch.tensor([1.0, 2.0, 0.5]))
    own = images.chunk(parallel.world())[parallel.rank()].clone().requires_grad_()
    output = norm(own)
    weights = torch.arange(output.numel() * parallel.world(), dtype=dtype).sin().view(-1, *output.shape[1:])
    (output * weights.chunk(parallel.world())[parallel.rank()]).sum().backward()
    parallel.average_gradients(norm.parameters())
    result = norm.state_dict() | {"output": output, "gradient": own.grad, "gradient_weight": norm.weight.grad}
    return result | {"gradient_bias": norm.bias.grad, "evaluated": norm.eval()(images)}


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-12), (torch.float32, 1e-5)])
def test_batch_norm_over_two_processes_is_torch_s_over_the_whole_batch(dtype, tolerance):
    torch.manual_seed(0)
    images = (torch.randn(6, 3, 4, 5) * 2 + 300).to(dtype)  # a mean that sums of squares would drown in
    expected, (first, second) = normalised(images, dtype), together(2, normalised, images, dtype)
    for name in ("output", "gradient"):
        first[name] = torch.cat([first[name], second[name]])
    for name in ("gradient_weight", "gradient_bias"):
        expected[name] /= 2  # the sum above, where a loss would be a mean
    for name, tensor in expected.items():
        torch.testing.assert_close(first[name], tensor, rtol=tolerance, atol=tolerance * 10)


def batch_norms():
    return str(type(parallel.synchronised(nn.Sequential(nn.BatchNorm1d(2)))[0]).__name__)


def test_batch_norm_stays_each_process_s_own_where_the_params_say_so():
    apart = TRAINING.model_copy(update={"sync_batch_norm": False})
    assert together(2, batch_norms, training=apart) == ["BatchNorm1d"] * 2
    assert together(2, batch_norms) == ["SynchronisedBatchNorm"] * 2


def second_derivatives():
    weight = torch.tensor([0.5], requires_grad=True)
    own = torch.tensor([1.0, 2.0, 3.0, 4.0]).chunk(parallel.world())[parallel.rank()]
    sums = parallel.total((weight * own).pow(3).sum())
    [slope] = torch.autograd.grad(sums / parallel.world(), weight, create_graph=True)
    slope.square().sum().backward()
    return {"slope": slope, "gradient": weight.grad}


def test_a_total_is_differentiable_twice():
    [alone], both = together(1, second_derivatives), together(2, second_derivatives)
    assert alone["slope"].item() == pytest.approx(3 * 0.25 * 100)
    assert sum(one["slope"].item() for one in both) == pytest.approx(alone["slope"].item())


def run(folder, steps=60, signal_at=None, fail_at=None, fail_rank=0):
    """A toy training with its state in `folder`: what it returned, or how it ended."""
    os.environ["RESUME_DIR"] = str(folder)
    torch.set_default_dtype(torch.float64)
    torch.Tensor.float = torch.Tensor.double
    rank = parallel.rank()

    class Disturbed(Toy):
        def update(self, step):
            values = super().update(step)
            if signal_at == step and rank == parallel.world() - 1:
                os.kill(os.getpid(), signal.SIGTERM)
            return values | ({"loss": values["loss"] * float("nan")} if step == fail_at and rank == fail_rank else {})

    model, state = Disturbed().double(), ResumeState("toy", None, [])
    try:
        trained = training.train(
            model, run="toy", seed=0, steps=steps, images_per_step=16, snapshots=2, state=state, records=3, save_every_seconds=1e9
        )
    except KeyboardInterrupt as error:
        return f"{error.number}: {error}"
    except UserError as error:
        return f"{type(error).__name__}: {error}"
    if trained is None:
        return "nothing to write"
    return model.state_dict() | {f"record {row['step']}": np.array(list(row.values())) for row in trained.history}


def test_the_first_process_alone_returns_a_history_of_averages(tmp_path):
    [alone] = together(1, run, tmp_path / "1")
    first, second = together(2, run, tmp_path / "2")
    assert second == "nothing to write"
    names = [name for name in alone if not name.startswith("record")]
    for name in [*names, *(f"record {step}" for step in (20, 40, 60))]:
        width = 2 if name.startswith("record") else None  # the last one recorded is no mean over the batch
        torch.testing.assert_close(first[name][:width] if width else first[name], alone[name][:width] if width else alone[name])


@pytest.mark.parametrize(("before", "after"), [(2, 1), (1, 2), (2, 2)])
def test_an_interrupted_training_goes_on_with_another_number_of_processes(tmp_path, capfd, before, after):
    [expected, *_] = together(after, run, tmp_path / "whole")
    ends = together(before, run, tmp_path / "state", 60, 27)
    step = 27 if before == 1 else 40  # several agree only on every twentieth step
    assert ends == [f"{signal.SIGTERM}: toy: stopped at step {step}; the same command goes on from step {step}"] * before
    capfd.readouterr()
    [resumed, *_] = together(after, run, tmp_path / "state")
    said = capfd.readouterr().err
    assert said.count(f"toy: goes on from step {step}") == 1
    assert said.count(f"processes {before} then, {after} now") == (before != after)
    for name, tensor in expected.items():
        if before == after:
            assert torch.equal(resumed[name], tensor), name
        elif not name.startswith("record"):
            torch.testing.assert_close(resumed[name], tensor, rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize("rank", [0, 1])
def test_what_diverges_in_one_process_ends_all_with_the_same_words(tmp_path, rank):
    ends = together(2, run, tmp_path, 60, None, 27, rank)
    assert ends[0] == ends[1]
    assert ends[0].startswith("SharedError: toy: loss became nan at step 27: training has diverged (no state was saved before)")


def run_apart(folder):
    """Two nodes that share no folder, of which only the first has a state."""
    return run(folder / str(parallel.rank()), 60)


def test_processes_that_find_different_states_refuse_to_train(tmp_path):
    together(1, run, tmp_path / "0", 60, 27)
    ends = together(2, run_apart, tmp_path)
    assert ends[0] == ends[1] and "RESUME_DIR must name a folder that all of them share" in ends[0]


def writes(folder):
    """Whether this process, which ends after it, opened anything there for writing, made, moved or removed it."""
    touched = []

    def hear(event, arguments):
        if event == "open" and arguments[2] & (os.O_WRONLY | os.O_RDWR) or event in ("os.mkdir", "os.rename", "os.remove"):
            touched.append(str(arguments[0]))

    sys.addaudithook(hear)
    run(folder, 60, 27)
    return any(str(folder) in path for path in touched)


def test_the_first_process_alone_writes(tmp_path):
    assert together(2, writes, tmp_path) == [True, False]
    assert [path.name for path in Path(tmp_path).glob("*/state.pt")] == ["state.pt"]


def lost(folder):
    os.environ["RESUME_DIR"] = str(folder)

    class Dying(Toy):
        def update(self, step):
            if step == 5 and parallel.rank() == 1:
                os._exit(9)
            return super().update(step)

    try:
        training.train(Dying(), run="toy", seed=0, steps=60, images_per_step=16, snapshots=0, state=ResumeState("toy", None, []))
    except UserError as error:
        return str(error)


def test_a_process_that_is_gone_is_one_line_for_the_others(tmp_path):
    first, second = together(2, lost, tmp_path)
    assert first.startswith("another process of this training has ended") and "\n" not in first
    assert isinstance(second, ChildProcessError)


def alike():
    torch.manual_seed(parallel.rank())
    module = nn.Sequential(nn.Conv2d(3, 2, 3), nn.BatchNorm2d(2)).to(memory_format=torch.channels_last)
    parallel.alike(module)
    return module.state_dict()


def test_processes_begin_with_the_first_one_s_weights():
    first, second = together(2, alike)
    torch.manual_seed(0)
    expected = nn.Sequential(nn.Conv2d(3, 2, 3), nn.BatchNorm2d(2)).state_dict()
    assert all(torch.equal(first[name], tensor) and torch.equal(second[name], tensor) for name, tensor in expected.items())
