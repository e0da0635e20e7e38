"""Batches of training images: from the device where they fit, else from disk, one batch ahead; the same images either way."""

import math
import mmap
import os
from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np
import torch
from torch import Tensor

from stages.runtime import device, parallel
from stages.runtime.errors import UserError
from stages.runtime.seeding import numpy_generator


def resident_gb() -> float:
    """How many GB of a training's images may lie on the device: the environment's RESIDENT_GB, or 4; UserError for a bad one.

    No param, since no result depends on it.
    """
    said = os.environ.get("RESIDENT_GB") or "4"
    try:
        size = float(said)
    except ValueError:
        size = math.nan
    if not 0 <= size < math.inf:
        raise UserError(f"RESIDENT_GB is {said[:60]!r}; must be a number of gigabytes, 0 or more")
    return size


class Feed:
    """Random batches of `images` uint8 (n, height, width, channels), an array or a memory map.

    Images of no more than `resident_gb` lie on the device `place` as one tensor. Larger ones stay where they are, and a thread
    gathers the batch that comes next. A step has `parts` batches of `size` images for this process each. Where `rows` are given,
    only these images are drawn.
    """

    def __init__(
        self,
        images: np.ndarray,
        size: int,
        *,
        seed: int,
        name: str,
        place: torch.device,
        resident_gb: float,
        parts: int = 1,
        rows: np.ndarray | None = None,
    ) -> None:
        self.images, self.size, self.seed, self.name, self.place, self.parts = images, size, seed, name, place, parts
        self.rows = rows
        self.resident = device.resident(images, place) if images.nbytes <= resident_gb * 1e9 else None
        self._thread = ThreadPoolExecutor(1, f"feed {name}") if self.resident is None else None
        self._ahead = _Ahead(images) if self._thread else None
        self._next: tuple[tuple[int, int], Future] | None = None

    def __len__(self) -> int:
        return len(self.images if self.rows is None else self.rows)

    def at(self, step: int, part: int = 0) -> tuple[Tensor, Tensor]:
        """Images uint8 (size, height, width, channels) and their index (size,) int64 of a part of a step, on the device.

        The index follows from seed, name, step and part alone: drawn with replacement for all processes, of which this one
        takes its own.
        """
        if self._thread is None:
            index = torch.from_numpy(self._index(step, part)).to(self.place, non_blocking=True)
            return self.resident[index], index
        if self._next is None or self._next[0] != (step, part):
            self._next = (step, part), self._thread.submit(self._gather, step, part)
        images, index = self._next[1].result()
        after = (step, part + 1) if part + 1 < self.parts else (step + 1, 0)
        self._next = after, self._thread.submit(self._gather, *after)
        return images.to(self.place, non_blocking=True), index.to(self.place, non_blocking=True)

    def _index(self, step: int, part: int) -> np.ndarray:
        size, first = self.size, self.size * parallel.rank()
        generator = numpy_generator(self.seed, self.name, step, part)
        drawn = generator.integers(len(self), size=parallel.world() * size)[first : first + size]
        return drawn if self.rows is None else self.rows[drawn]

    def _gather(self, step: int, part: int) -> tuple[Tensor, Tensor]:
        """The batch in memory, page-locked where there is a GPU, so that its copy does not hold up the step."""
        index, pinned = self._index(step, part), self.place.type == "cuda"
        batch = torch.empty((len(index), *self.images.shape[1:]), dtype=torch.uint8, pin_memory=pinned)
        self._ahead.ask_for(index)
        # Checked or not, no index lies outside; "raise" would gather into a second buffer first.
        np.take(self.images, index, axis=0, out=batch.numpy(), mode="clip")
        index = torch.from_numpy(index)
        return batch, index.pin_memory() if pinned else index


class _Ahead:
    """Asks the disk for all images of a batch at once, where they are rows of a memory map.

    One after the other they would each wait for the disk; and the kernel would read the images around each, too, which nobody
    wants: of a set larger than the memory, that makes a batch take hundreds of times as long.
    """

    def __init__(self, images: np.ndarray) -> None:
        whole = images.base
        while isinstance(whole, np.ndarray):
            whole = whole.base
        known = isinstance(whole, mmap.mmap) and images.flags.c_contiguous and hasattr(mmap, "MADV_WILLNEED")
        self.whole = whole if known else None
        if known:
            self.first = images.ctypes.data - np.frombuffer(whole, np.uint8).ctypes.data
            self.length = images[0].nbytes
            whole.madvise(mmap.MADV_RANDOM)

    def ask_for(self, index: np.ndarray) -> None:
        """Have the kernel begin to read these rows; it goes on while this returns."""
        if self.whole is None:
            return
        for start in (self.first + index * self.length).tolist():
            page = start - start % mmap.PAGESIZE
            self.whole.madvise(mmap.MADV_WILLNEED, page, start + self.length - page)
