import os
import subprocess
import sys

import pytest
import torch
from torch import nn

from stages.runtime import parallel, processes
from stages.runtime.errors import UserError
from stages.runtime.schema import Training

ALONE = Training(compile=False, deterministic=False, sync_batch_norm=True)


@pytest.fixture(autouse=True)
def plain_environment(monkeypatch):
    for name in ("DEVICES", "WORLD_SIZE", "RANK"):
        monkeypatch.delenv(name, raising=False)


def test_alone_random_numbers_are_torch_s_own():
    torch.manual_seed(3)
    expected = torch.rand(4, 2), torch.randn(4, 3), torch.randint(7, (4, 5)), torch.randint(7, (4,))
    torch.manual_seed(3)
    drawn = parallel.rand(4, 2), parallel.randn(4, 3), parallel.randint(7, 4, 5), parallel.randint(7, 4)
    assert all(torch.equal(ours, theirs) for ours, theirs in zip(drawn, expected, strict=True))


def test_alone_nothing_is_changed():
    tensor, module = torch.ones(3, requires_grad=True), nn.BatchNorm1d(3)
    assert parallel.total(tensor) is tensor and parallel.mean(tensor) is tensor
    assert type(parallel.synchronised(module)) is nn.BatchNorm1d
    assert parallel.world() == 1 and parallel.rank() == 0 and parallel.share(7, "batch_size") == 7


def test_alone_lightning_is_not_imported():
    code = (
        "import sys; from stages.runtime import parallel; from tests.runtime.test_parallel import ALONE; parallel.start(ALONE);"
        "sys.exit(any(name.startswith('lightning') for name in sys.modules))"
    )
    environment = {name: value for name, value in os.environ.items() if name not in ("DEVICES", "RANK")}
    assert subprocess.run([sys.executable, "-c", code], env=environment | {"DEVICES": "1"}).returncode == 0


@pytest.mark.parametrize("devices", ["two", "0", "-1", "1.5", "²", "9" * 50])
def test_devices_that_are_no_number_are_one_line(monkeypatch, devices):
    monkeypatch.setenv("DEVICES", devices)
    with pytest.raises(UserError, match="^DEVICES is '.*'; must be a number"):
        parallel.start(ALONE)


def test_more_processes_than_gpus_are_one_line(monkeypatch):
    monkeypatch.setenv("DEVICES", "3")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    with pytest.raises(UserError, match="3 processes want a GPU each, and this machine has 2: choose DEVICES=2"):
        parallel.start(ALONE)


def test_a_batch_that_can_not_be_shared_evenly_is_refused(monkeypatch):
    monkeypatch.setattr(parallel, "world", lambda: 4)
    assert parallel.share(64, "batch_size") == 16
    with pytest.raises(UserError, match="^batch_size is 6, which 4 processes"):
        parallel.share(6, "batch_size")


def test_torchrun_s_number_of_processes_comes_before_devices(monkeypatch):
    monkeypatch.setenv("DEVICES", "3")
    assert processes.wanted() == 3
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert processes.wanted() == 3
    monkeypatch.setenv("RANK", "1")
    assert processes.wanted() == 2


@pytest.mark.parametrize(("gpus", "expected"), [(True, {"cpu": "gloo", "cuda": "nccl"}), (False, "gloo")])
def test_beside_gpus_numbers_in_memory_travel_too(gpus, expected):
    backend = processes.backend(gpus)
    if gpus:
        backend = torch.distributed.distributed_c10d.BackendConfig(torch.distributed.Backend(backend)).get_device_backend_map()
    assert backend == expected
