"""Where training runs and in which precision."""

import ctypes
from contextlib import suppress
from functools import cache
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from stages.runtime.interruption import say

# Of glibc's malloc.h.
M_TRIM_THRESHOLD, M_MMAP_MAX = -1, -4

CPU_FLAGS = Path("/proc/cpuinfo")
# Images read at a time.
BLOCK = 4096


def pick() -> torch.device:
    """The first GPU if there is one, else the CPU, with `keep_freed_memory`.

    Never part of a stage's command: results belong to the params. Nor does PyTorch get to compute float32 convolutions by ten of
    their 23 bits (TF32), as it does on a GPU by default.
    """
    keep_freed_memory()
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = False
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


@cache
def keep_freed_memory() -> None:
    """Have the C library keep what one step or batch frees, for the next one to use.

    By default glibc gives large blocks back to the system and gets them again page by page, each cleared first: a tenth to a
    third of the time of a small network. C libraries without these settings stay as they are.
    """
    with suppress(AttributeError, OSError):
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(M_MMAP_MAX, 0)
        mallopt(M_TRIM_THRESHOLD, -1)


def autocast(device: torch.device, precision: str) -> torch.autocast:
    """Context in which matrix products and convolutions run in bfloat16 if `precision` is `bf16`; nothing changes for `fp32`."""
    if precision == "bf16" and device.type == "cpu":
        _note_slow_bfloat16()
    return torch.autocast(device.type, dtype=torch.bfloat16, enabled=precision == "bf16")


def resident(images: np.ndarray, device: torch.device) -> Tensor:
    """The whole uint8 image array (n, height, width, channels) as one tensor on the device."""
    if images.flags.writeable:
        return torch.from_numpy(images).to(device)
    # A memory map is read-only: torch warns of tensors over such arrays, and a GPU needs no whole copy in memory on the way.
    whole = torch.from_numpy(np.empty((0,), images.dtype)).new_empty(images.shape, device=device)
    for part, start in zip(whole.split(BLOCK), range(0, len(images), BLOCK), strict=True):
        part.copy_(torch.from_numpy(np.array(images[start : start + BLOCK])))
    return whole


def to_float(images: Tensor, low: float = -1.0) -> Tensor:
    """A uint8 NHWC batch as float32 (n, channels, height, width) in [low, 1], channels_last."""
    return images.permute(0, 3, 1, 2).float().mul_((1.0 - low) / 255).add_(low)


def to_uint8(images: Tensor, low: float = -1.0) -> Tensor:
    """Rounded uint8 NHWC tensor of images (n, channels, height, width) in [low, 1]; values outside are clamped."""
    scaled = (images.float() - low) * (255 / (1.0 - low))
    return scaled.round().clamp(0, 255).to(torch.uint8).permute(0, 2, 3, 1).contiguous()


def place(module: nn.Module, device: torch.device) -> nn.Module:
    """Move a module to the device with its convolution weights in channels_last order."""
    return module.to(device, memory_format=torch.channels_last)


@cache
def _note_slow_bfloat16() -> None:
    """Say once where bfloat16 is only emulated; a system that does not tell is taken to have it."""
    try:
        words = set(CPU_FLAGS.read_text().split())
    except OSError:
        return
    if not words & {"avx512_bf16", "amx_bf16", "bf16"}:
        say("this processor has no bfloat16 instructions: precision fp32 would train faster here")
