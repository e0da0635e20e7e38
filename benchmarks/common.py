"""What all benchmarks share: forms timed in turns, ratios with their spread, the machine's measured peak, memory."""

import multiprocessing
import os
import platform
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path
from statistics import median
from typing import Any, TypeVar

import numpy as np
import torch
from torch.profiler import ProfilerActivity, profile
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

from stages.runtime import device

# Sides of the matrices whose products show the peak: large enough to keep every core or the whole GPU busy.
SIDES_CPU, SIDES_GPU = (1024, 2048, 4096), (4096, 8192)
# Share of the peak under which a benchmark shows where a step's time goes.
PARTS_BELOW = 0.5
# More than the profiler keeps of any step here, and what it makes the steps take besides.
PROFILED_BYTES = 1 << 30
PARTS = {
    "convolutions": ("conv", "Conv", "_ByInput", "_ByWeight"),
    "batch norm and pooling": ("batch_norm", "max_pool", "PoolNormalise", "fill_"),
    "matrix products": ("addmm", "aten::mm", "aten::bmm"),
    "warps": ("grid_sample", "affine_grid"),
    "Adam": ("adam", "Adam", "Optimizer"),
    "copies between types and layouts": ("copy_", "cat"),
    "random numbers": ("rand", "uniform_", "bernoulli"),
}
# Operations of no part, and the share of a step's time from which on the largest of them are named.
OTHERS, OTHERS_AT_MOST = "everything else", 0.15
BF16_INSTRUCTIONS = ("amx_bf16", "avx512_bf16", "avx_ne_convert", "bf16")

Answer = TypeVar("Answer")


def interleaved(
    forms: dict[str, Callable[[], None]], *, rounds: int, repeats: int, unmeasured: int = 0
) -> dict[str, list[float]]:
    """Seconds a call of each form, one value a round, in which it is called `repeats` times.

    The forms take turns, and another one begins each round, so that a machine that slows down slows all of them. Each is
    called `repeats` times unmeasured first, and `unmeasured` times before each of its turns, where it has made ready what it
    needs while others ran, or the one before it still does.
    """
    for form in forms.values():
        _seconds(form, repeats)
    seconds: dict[str, list[float]] = {name: [] for name in forms}
    names = list(forms)
    for number in range(rounds):
        first = number % len(names)
        for name in names[first:] + names[:first]:
            for _ in range(unmeasured):
                forms[name]()
            seconds[name].append(_seconds(forms[name], repeats))
    return seconds


@contextmanager
def processes(arguments: dict[str, tuple]) -> Iterator[dict[str, Callable[..., None]]]:
    """A process for each form, as in real life, where none finds the caches full of another's: calls that run there.

    The form is made there by a function with these arguments, and is a function itself, which gets what the call gets.
    """
    context = multiprocessing.get_context("spawn")
    ends, running = {}, []
    for name, (make, *rest) in arguments.items():
        ends[name], theirs = context.Pipe()
        running.append(context.Process(target=_serve, args=(theirs, make, rest)))
        running[-1].start()
        theirs.close()
    try:
        yield {name: partial(_ask, name, end) for name, end in ends.items()}
    finally:
        for end in ends.values():
            end.close()
        for process in running:
            process.join()


def elsewhere(function: Callable[..., Answer], *given: Any) -> Answer:
    """What a function returns in a process of its own, with which all its memory goes."""
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        return pool.submit(function, *given).result()


def _ask(name: str, end: Connection, *given: Any) -> None:
    """Have a form's process make one call; RuntimeError where it is there no longer."""
    try:
        end.send(given)
        end.recv()
    except (EOFError, OSError):
        raise RuntimeError(f"the process of {name!r} has ended; where it says no error, memory was short") from None


def ratio_line(name: str, slow: list[float], fast: list[float]) -> str:
    """How many times faster `fast` is: median, least and most over the rounds, and both medians."""
    ratios = [one / other for one, other in zip(slow, fast, strict=True)]
    typical, least, most = (_ratio(one) for one in (median(ratios), min(ratios), max(ratios)))
    return f"{name}: {typical}x ({least}-{most}), plain {duration(median(slow))}, ours {duration(median(fast))}"


def peak_flops(dtype: torch.dtype, device: torch.device | str = "cpu") -> float:
    """Floating-point operations a second of large square matrix products in `dtype`, the best of five of each side, now."""

    def best(side: int) -> float:
        left, right = (torch.randn(side, side, device=device).to(dtype) for _ in range(2))
        _seconds(lambda: left @ right, 1)
        return 2 * side**3 / min(_seconds(lambda: left @ right, 1) for _ in range(5))

    return max(best(side) for side in (SIDES_CPU if torch.device(device).type == "cpu" else SIDES_GPU))


def flops_of(function: Callable[[], object]) -> float:
    """Floating-point operations of the matrix products and convolutions of one call, backward passes included."""
    with _FlopCounter() as counter:
        function()
    return float(counter.flops)


def peak_line(name: str, flops: float, seconds: float, peak: float) -> str:
    """The share of the measured peak that a step of `flops` operations reaches in `seconds`."""
    rate = flops / seconds
    return f"{name}: {100 * rate / peak:.0f} % of the measured peak ({rate / 1e9:.0f} of {peak / 1e9:.0f} GFLOP/s)"


def operations(step: Callable[[], object], count: int) -> dict[str, float]:
    """Microseconds of the processor that each operation takes in so many calls of a step, the longest first: the fastest of
    three times.

    What the profiler keeps lies between a step's blocks of memory, so that the next step's come anew from the system, each page
    cleared when it is first written, as they never do without the profiler. So memory for all of it is taken beforehand,
    written, and left to the C library (`device.keep_freed_memory`).
    """
    # Of what its profiler says of itself, nothing.
    os.environ.setdefault("KINETO_LOG_LEVEL", "6")
    device.keep_freed_memory()
    np.ones(PROFILED_BYTES, np.uint8)
    taken = min((_profiled(step, count) for _ in range(3)), key=lambda one: sum(one.values()))
    return dict(sorted(taken.items(), key=lambda one: -one[1]))


def by_part(step: Callable[[], object], count: int) -> str:
    """The share of each part of so many steps' time on the processor, the largest first; of much else, its largest operations."""
    taken = operations(step, count)
    whole, others = sum(taken.values()), {name: spent for name, spent in taken.items() if part_of(name) == OTHERS}
    times = dict.fromkeys([*PARTS, OTHERS], 0.0)
    for name, spent in taken.items():
        times[part_of(name)] += spent
    shares = listed(dict(sorted(times.items(), key=lambda one: -one[1])), whole)
    if times[OTHERS] <= OTHERS_AT_MOST * whole:
        return shares
    return f"{shares}; of everything else most are {listed(dict(list(others.items())[:3]), whole)}"


def part_of(name: str) -> str:
    """The part of PARTS to which an operation belongs."""
    return next((part for part, words in PARTS.items() if any(word in name for word in words)), OTHERS)


def listed(times: dict[str, float], whole: float) -> str:
    """Names with their shares of the whole time."""
    return ", ".join(f"{name.removeprefix('aten::')} {100 * spent / whole:.0f} %" for name, spent in times.items())


def _profiled(step: Callable[[], object], count: int) -> dict[str, float]:
    step()
    with profile(activities=[ProfilerActivity.CPU]) as measured:
        for _ in range(count):
            step()
    return {one.key: one.self_cpu_time_total for one in measured.key_averages()}


def duration(seconds: float) -> str:
    """Seconds, as milliseconds where they are few: 45.1 ms, 12.3 s."""
    return f"{1000 * seconds:.1f} ms" if seconds < 10 else f"{seconds:.1f} s"


def machine() -> str:
    """The processor, its cores and instructions for bfloat16, GPUs where there are, torch and its threads, on one line."""
    gpus = [torch.cuda.get_device_name(number) for number in range(torch.cuda.device_count())]
    model, flags = _processor()
    bf16 = [flag for flag in BF16_INSTRUCTIONS if flag in flags]
    parts = [
        f"{model}, {len(os.sched_getaffinity(0)) if hasattr(os, 'sched_getaffinity') else os.cpu_count()} cores",
        f"bfloat16 by {', '.join(bf16)}" if bf16 else "no instructions for bfloat16 known",
        *gpus,
        f"torch {torch.__version__}, {torch.get_num_threads()} threads",
    ]
    return "; ".join(parts)


def own_memory() -> int:
    """Bytes of memory that are this process's alone and no file's; on systems that don't tell, its whole memory at its peak."""
    try:
        status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
        return int(status["RssAnon"].split()[0]) * 1024
    except (OSError, KeyError):
        import resource

        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


class _FlopCounter(TorchDispatchMode):
    """Adds up by PyTorch's formulas; its own counter also tells modules apart, whose hooks refuse gradients by images."""

    flops = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: tuple = (), kwargs: dict[str, Any] | None = None) -> Any:
        out = func(*args, **kwargs or {})
        formula = flop_registry.get(func._overloadpacket)
        self.flops += formula(*args, **kwargs or {}, out_val=out) if formula else 0
        return out


def _ratio(value: float) -> str:
    """Two decimals below 2, so that a form a seventh slower is not shown as a tenth."""
    return f"{value:.2f}" if value < 2 else f"{value:.1f}"


def _serve(connection: Connection, make: Callable[..., Callable[..., object]], arguments: list) -> None:
    # A loader starts its workers as in any program, by the first of these methods. By this process's own, each would begin by
    # importing PyTorch, epoch after epoch.
    multiprocessing.set_start_method(multiprocessing.get_all_start_methods()[0], force=True)
    form = make(*arguments)
    while True:
        try:
            given = connection.recv()
        except EOFError:
            return
        form(*given)
        connection.send(None)


def _seconds(function: Callable[[], object], repeats: int) -> float:
    """Seconds a call; a GPU's work is waited for."""
    _wait()
    began = time.perf_counter()
    for _ in range(repeats):
        function()
    _wait()
    return (time.perf_counter() - began) / repeats


def _wait() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def _processor() -> tuple[str, set[str]]:
    """Model name and instruction flags; Linux alone tells the latter."""
    try:
        text = Path("/proc/cpuinfo").read_text()
    except OSError:
        return platform.processor() or platform.machine(), set()
    fields = dict(line.split(":", 1) for line in text.splitlines() if ":" in line)
    fields = {key.strip(): value.strip() for key, value in fields.items()}
    return fields.get("model name", platform.machine()), set(fields.get("flags", fields.get("Features", "")).split())
