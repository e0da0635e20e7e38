"""No step makes the processor wait for a GPU: none copies numbers of the host there one by one, and none reads any back.

There is no GPU here. So every call of torch is looked at, in the steps of all trainers with everything that can be switched on.
"""

from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from benchmarks import gpu_check
from benchmarks.paper_trainers import BEST, PAPER, others_of_best, trainers
from stages.generation.augment import OPERATIONS
from stages.runtime import params

ROOT = Path(__file__).resolve().parents[2]
NAMES = ["StyleGAN2", "ACGAN", "judge", "source_only", "source_only, jitter", "dann", "dsn", "target_only"]
NAMES += [f"{name} of best" for name in ("StyleGAN2", "ACGAN", "source_only, strong", "mean_teacher")]
MAKES = (torch.tensor, torch.as_tensor, torch.asarray, Tensor.new_tensor)
READS = (
    Tensor.item,
    Tensor.tolist,
    Tensor.cpu,
    Tensor.numpy,
    Tensor.__bool__,
    Tensor.__int__,
    Tensor.__float__,
    Tensor.__index__,
)
READS += (Tensor.nonzero, torch.nonzero, Tensor.masked_select, torch.masked_select, Tensor.unique, torch.unique, torch.equal)


# What makes a tensor of no other, on the host where no device is named.
DRAWS = (torch.tensor, torch.zeros, torch.ones, torch.full, torch.arange, torch.rand, torch.randn, torch.randint)


class NeverWaiting(TorchFunctionMode):
    """AssertionError where a GPU would be waited for.

    What is made with no device named lies on the host, and may be read there, but not copied to the device.
    """

    def __init__(self) -> None:
        super().__init__()
        self.of_host: list[Tensor] = []

    def __torch_function__(self, function, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        on_host = bool(args) and any(args[0] is one for one in self.of_host)
        assert not (function in MAKES and (function is Tensor.new_tensor or kwargs.get("device"))), f"{function} copies"
        assert on_host or function not in READS, f"{function} reads"
        assert not (on_host and function is Tensor.to), "numbers of the host are copied"
        assert not (function is Tensor.__getitem__ and is_mask(args[1])), "a mask is read"
        made = function(*args, **kwargs)
        if isinstance(made, Tensor) and not kwargs.get("device") and function in DRAWS:
            self.of_host.append(made)
        return made


def is_mask(index: object) -> bool:
    parts = index if isinstance(index, tuple) else (index,)
    return any(isinstance(part, Tensor) and part.dtype == torch.bool for part in parts)


@pytest.fixture(scope="module")
def all_trainers():
    best = params.load(ROOT / BEST)
    every = best.stylegan2.train.model_copy(update={"augment": list(OPERATIONS)})
    digits = best.acgan.train.model_copy(update={"augment": [name for name in OPERATIONS if name != "flip"]})
    parts = {"stylegan2": best.stylegan2.model_copy(update={"train": every})}
    parts["acgan"] = best.acgan.model_copy(update={"train": digits})
    best = others_of_best(best.model_copy(update=parts), toy=True)
    return {one.name: one for one in [*trainers(params.load(ROOT / PAPER), toy=True), *best]}


@pytest.mark.parametrize("name", NAMES)
def test_no_step_waits(name, all_trainers):
    one = all_trainers[name]
    model = one.make(torch.device("cpu"), one.precision, params.load(ROOT / PAPER).training)
    with NeverWaiting():
        gpu_check.update(model, one.telling)


PLACE, ONES = torch.device("cpu"), torch.ones(3)


@pytest.mark.parametrize(
    "waits",
    [
        lambda: ONES.new_tensor([1.0, 2.0]),
        lambda: torch.tensor([1.0, 2.0], device=PLACE),
        lambda: torch.as_tensor([1.0, 2.0], device=PLACE),
        lambda: torch.tensor(1.0).to(PLACE),
        lambda: ONES.sum().item(),
        lambda: float(ONES.sum()),
        lambda: "more" if ONES.sum() > 2 else "less",
        lambda: ONES.tolist(),
        lambda: ONES[ONES > 0],
        lambda: ONES.nonzero(),
    ],
)
def test_what_would_wait_is_found(waits):
    with NeverWaiting(), pytest.raises(AssertionError):
        waits()


def test_numbers_of_the_host_may_be_made_and_read_there():
    with NeverWaiting():
        assert int(torch.randint(3, 4, ())) == 3
        assert torch.tensor(2.0).item() == 2
