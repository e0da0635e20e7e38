"""The processes of one training: how they are started, meet, wait for each other, and end together.

`torchrun` starts them on one or several nodes; the environment's DEVICES=n has the first process start the others here, each
with the same command. No process outlives the first one, and the first one does not wait for one that is gone.
"""

import atexit
import logging
import os
import subprocess
import sys
import threading
import time
import warnings
from contextlib import suppress

import torch
import torch.distributed as dist
from torch import Tensor

from stages.runtime.errors import SharedError, UserError

_parted = threading.Event()
# How long others may take to find out by themselves that one has gone.
GRACE = 5.0


class LostProcess(SharedError):
    """Another process of this training has ended, and nothing can be shared any more."""


def met() -> bool:
    """Whether this process is one of several that train together."""
    return dist.is_available() and dist.is_initialized()


def world() -> int:
    """How many processes train together."""
    return dist.get_world_size() if met() else 1


def rank() -> int:
    """Which of them this is, from 0; number 0 alone writes files."""
    return dist.get_rank() if met() else 0


def wanted() -> int:
    """How many processes the environment asks for: torchrun's WORLD_SIZE, or else DEVICES; UserError for a bad DEVICES."""
    if "RANK" in os.environ and "WORLD_SIZE" in os.environ:
        return int(os.environ["WORLD_SIZE"])
    devices = os.environ.get("DEVICES") or "1"
    if not devices.isascii() or not devices.isdigit() or not 1 <= int(devices) <= 1024:
        raise UserError(f"DEVICES is {devices[:60]!r}; must be a number of devices to train on, from 1 on")
    return int(devices)


def meet() -> torch.device:
    """Start the other processes where nobody has, wait until all are there, and return this process's device."""
    if "RANK" not in os.environ:
        _launch(wanted())
    elif "LAUNCHED_BY" in os.environ:
        first = int(os.environ["LAUNCHED_BY"]), int(os.environ["RANK"])
        threading.Thread(target=_watch_first, args=first, daemon=True).start()
    # It costs a second, and only several processes need it.
    from lightning_fabric import Fabric
    from lightning_fabric.plugins.environments import TorchElasticEnvironment
    from lightning_fabric.strategies import DDPStrategy

    # It would announce every process in lines of its own.
    for name in ("lightning.fabric", "lightning_fabric"):
        logging.getLogger(name).setLevel(logging.ERROR)
    here = int(os.environ.get("LOCAL_WORLD_SIZE", os.environ["WORLD_SIZE"]))
    _check_gpus(here)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        fabric = Fabric(
            accelerator="cuda" if torch.cuda.is_available() else "cpu",
            devices=here,
            num_nodes=int(os.environ["WORLD_SIZE"]) // here,
            strategy=DDPStrategy(process_group_backend=backend(torch.cuda.is_available())),
            plugins=[TorchElasticEnvironment()],
        )
        fabric.launch()
    return fabric.device


def backend(gpus: bool) -> str:
    """What processes talk by. Beside GPUs they also agree on numbers that lie in memory, which NCCL alone would refuse."""
    return "cpu:gloo,cuda:nccl" if gpus else "gloo"


def reduce(tensor: Tensor, how: dist.ReduceOp.RedOpType = dist.ReduceOp.SUM) -> Tensor:
    """The tensor after an all-reduce in place; LostProcess where another process is gone."""
    try:
        dist.all_reduce(tensor, how)
    except RuntimeError:
        raise LostProcess(
            "another process of this training has ended: run it again, which goes on from the saved state"
        ) from None
    return tensor


def _check_gpus(here: int) -> None:
    there = torch.cuda.device_count() if torch.cuda.is_available() else here
    if here > there:
        raise UserError(f"{here} processes want a GPU each, and this machine has {there}: choose DEVICES={there} or fewer")


def _launch(count: int) -> None:
    """Start processes 1 to count - 1 with this process's own command."""
    from lightning_fabric.plugins.environments.lightning import find_free_network_port

    _check_gpus(count)
    threads = max(1, len(os.sched_getaffinity(0)) // count) if hasattr(os, "sched_getaffinity") else 1
    if "OMP_NUM_THREADS" not in os.environ:
        os.environ["OMP_NUM_THREADS"] = str(threads)
        torch.set_num_threads(threads)
    shared = {"WORLD_SIZE": count, "LOCAL_WORLD_SIZE": count, "GROUP_RANK": 0}
    shared |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": find_free_network_port()}
    os.environ.update({name: str(value) for name, value in shared.items()})
    # Otherwise gloo asks what address the host's name has, which not every machine can answer.
    os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo0" if sys.platform == "darwin" else "lo")
    command = [sys.executable, *sys.orig_argv[1:]]
    others = []
    for rank in range(1, count):
        environment = os.environ | {"RANK": str(rank), "LOCAL_RANK": str(rank), "LAUNCHED_BY": str(os.getpid())}
        others.append(subprocess.Popen(command, env=environment, stdin=subprocess.DEVNULL))
    os.environ |= {"RANK": "0", "LOCAL_RANK": "0"}
    atexit.register(_end, others)
    threading.Thread(target=_watch_others, args=(others,), daemon=True).start()


def _end(others: list[subprocess.Popen]) -> None:
    """Wait for the other processes, and end those that do not end."""
    if met() and dist.get_backend() == "gloo":
        # Whoever waits for this process learns that it is gone.
        with suppress(RuntimeError):
            dist.destroy_process_group()
    for how in (lambda one: None, subprocess.Popen.terminate, subprocess.Popen.kill):
        until = time.monotonic() + GRACE
        for one in others:
            if one.poll() is None:
                how(one)
        for one in others:
            with suppress(subprocess.TimeoutExpired):
                one.wait(max(0.0, until - time.monotonic()))


def part() -> None:
    """All processes have agreed that their common work is over: from here on each may end when it is ready."""
    _parted.set()


def _watch_others(others: list[subprocess.Popen]) -> None:
    """End this process where another one fails; it mostly learns it by itself, but not while it waits for a GPU."""
    while not any(one.poll() for one in others):
        time.sleep(0.5)
    failed, code = next((rank, one.returncode) for rank, one in enumerate(others, 1) if one.returncode)
    if not _parted.wait(GRACE):
        print(f"error: process {failed} of this training has ended with code {code}: stopping", file=sys.stderr, flush=True)
        for one in others:
            one.kill()
        os._exit(1)


def _watch_first(parent: int, rank: int) -> None:
    """End this process, whatever it waits for, once the first one is gone."""
    while os.getppid() == parent:
        time.sleep(0.5)
    if rank == 1:
        print("error: the first process of this training is gone: stopping", file=sys.stderr, flush=True)
    os._exit(1)
