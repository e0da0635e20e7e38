import platform
import resource
import subprocess
import sys
import warnings

import numpy as np
import pytest
import torch

from stages.runtime import device


def test_bytes_become_numbers_from_low_to_one_in_channels_last():
    batch = torch.tensor([[[[0, 51, 255]]]], dtype=torch.uint8).repeat(2, 4, 4, 1)
    for low in (-1.0, 0.0):
        images = device.to_float(batch, low)
        assert images.shape == (2, 3, 4, 4) and images.dtype == torch.float32
        assert images.is_contiguous(memory_format=torch.channels_last)
        torch.testing.assert_close(images[0, :, 0, 0], torch.tensor([low, low + 0.2 * (1 - low), 1.0]))


def test_a_float_batch_becomes_the_same_bytes_again():
    batch = torch.arange(256, dtype=torch.uint8).reshape(1, 16, 16, 1)
    assert torch.equal(device.to_uint8(device.to_float(batch)), batch)


def test_read_only_images_become_resident_without_a_warning():
    images = np.zeros((2, 4, 4, 3), np.uint8)
    images.flags.writeable = False
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        device.resident(images, torch.device("cpu"))[0] = 1
    assert not images.any()


@pytest.mark.parametrize(
    ("flags", "precision", "lines"),
    [
        ("avx2 avx512f", "bf16", 1),
        ("avx2 avx512f", "fp32", 0),
        ("avx512_bf16", "bf16", 0),
        ("asimd bf16", "bf16", 0),
        (None, "bf16", 0),
    ],
)
def test_bf16_without_instructions_for_it_is_said_once(tmp_path, monkeypatch, capfd, flags, precision, lines):
    monkeypatch.setattr(device, "CPU_FLAGS", tmp_path / "cpuinfo")
    if flags:
        (tmp_path / "cpuinfo").write_text(f"flags\t\t: fpu {flags} sse\n")
    device._note_slow_bfloat16.cache_clear()
    for _ in range(2):
        with device.autocast(torch.device("cpu"), precision):
            pass
    device._note_slow_bfloat16.cache_clear()
    assert capfd.readouterr().err.count("no bfloat16 instructions: precision fp32 would train faster here") == lines


def test_float32_is_float32_on_whatever_device_is_picked():
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = True
    device.pick()
    assert not torch.backends.cudnn.allow_tf32 and not torch.backends.cuda.matmul.allow_tf32


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="a setting of glibc")
@pytest.mark.parametrize(("first", "fresh"), [("", True), ("device.pick()", False)])
def test_who_has_picked_a_device_gets_freed_memory_again_without_new_pages(first, fresh):
    code = f"""
import resource, torch
from stages.runtime import device
{first}
# The first few leave holes between small blocks.
for count in (20, 5):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(count):
        torch.ones(12 << 20)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    pages = 5 * (48 << 20) // resource.getpagesize()
    assert (int(done.stdout) > 0.01 * pages) == fresh
