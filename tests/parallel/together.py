"""Several processes that train together, forked from this one, which has imported all that they need.

weights = together(2, job, *arguments)     # what `job(*arguments)` returned in each process, by rank
assert_alike(build, steps)                 # two processes train to the weights of one, in float64
"""

import os
import socket
import time
import traceback
from collections.abc import Callable
from multiprocessing import get_context
from typing import Any

import lightning_fabric  # noqa: F401  (imported once, here, for all forks)
import torch
from torch import Tensor

from stages.runtime import parallel
from stages.runtime.schema import Training
from stages.runtime.seeding import seed_step
from stages.runtime.training import Trainable

TRAINING = Training(compile=False, deterministic=False, sync_batch_norm=True)
SECONDS = 120
# Leads the names of weights as they were before training.
BEFORE = "before "


def together(count: int, job: Callable[..., Any], *arguments: Any, training: Training = TRAINING) -> list[Any]:
    """What `job(*arguments)` returns in each of `count` processes that have met, or the exception that it raised."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free.getsockname()[1]), "GLOO_SOCKET_IFNAME": "lo"}
    fork = get_context("fork")
    lines, done = [fork.Pipe(duplex=False) for _ in range(count)], fork.Event()
    ranks = [{"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(count)} for rank in range(count)]
    children = [
        fork.Process(target=_child, args=(lines[rank][1], done, ranks[rank] | address, training, job, arguments))
        for rank in range(count)
    ]
    for child in children:
        child.start()
    try:
        return [_received(line, child) for (line, _), child in zip(lines, children, strict=True)]
    finally:
        done.set()
        for child in children:
            child.join(5)
            child.kill()


def assert_alike(build: Callable[[], Trainable], steps: int, tolerance: float = 1e-8) -> None:
    """`steps` updates of what `build` makes, in float64, lead two processes to the weights of one."""
    [alone], (first, second) = (together(count, trained_weights, build, steps) for count in (1, 2))
    assert not any(isinstance(one, BaseException) for one in (alone, first, second)), (alone, first, second)
    assert alone.keys() == first.keys() == second.keys()
    names = [name for name in alone if not name.startswith(BEFORE)]
    assert any(not torch.equal(alone[name], alone[BEFORE + name]) for name in names), "nothing was learnt"
    for name in names:
        assert torch.equal(first[name], second[name]), f"{name} differs between the two processes"
        torch.testing.assert_close(
            first[name], alone[name], rtol=tolerance, atol=tolerance, msg=lambda text, name=name: f"{name}: {text}"
        )


def trained_weights(build: Callable[[], Trainable], steps: int) -> dict[str, Tensor]:
    """Parameters and buffers after `steps` updates in float64, and as they were before; call it in a process of its own."""
    torch.set_default_dtype(torch.float64)
    torch.Tensor.float = torch.Tensor.double
    model = build().double()
    before = {BEFORE + name: tensor.clone() for name, tensor in model.state_dict().items()}
    for step in range(1, steps + 1):
        seed_step(0, step)
        model.update(step)
    return before | {name: tensor.clone() for name, tensor in model.state_dict().items()}


def _child(
    line: Any, done: Any, environment: dict[str, str], training: Training, job: Callable[..., Any], arguments: tuple
) -> None:
    try:
        for name in ("DEVICES", "DVC_STAGE"):
            os.environ.pop(name, None)
        os.environ.update(environment)
        torch.set_num_threads(1)
        parallel.start(training)
        result = job(*arguments)
    except BaseException as error:
        traceback.print_exc()
        result = (
            type(error)(str(error)) if type(error).__module__ == "builtins" else RuntimeError(f"{type(error).__name__}: {error}")
        )
    line.send(_plain(result))
    line.close()
    done.wait(SECONDS)  # another one may still be on its way to meet this one
    os._exit(0)


def _plain(result: Any) -> Any:
    """Tensors as arrays: sent as they are, they would need their sender to live on."""
    if isinstance(result, dict):
        return {name: _plain(value) for name, value in result.items()}
    return result.detach().cpu().numpy().copy() if torch.is_tensor(result) else result


def _received(line: Any, child: Any) -> Any:
    until = time.monotonic() + SECONDS
    while not line.poll(0.05):
        if not child.is_alive() and not line.poll(0.5):
            return ChildProcessError(f"ended with {child.exitcode}")
        assert time.monotonic() < until, "the processes wait for each other"
    result = line.recv()
    return {name: torch.as_tensor(value) for name, value in result.items()} if isinstance(result, dict) else result
