"""The one training loop: progress, history, snapshots, resume, and a stop at the first NaN.

A model to train is an `nn.Module` (`Trainable`) that holds everything it learns as parameters, buffers and optimisers, so
that one checkpoint of these three is the whole state. The loop reads from top to bottom in `train`.
"""

import math
import signal
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd
from torch import Tensor, nn
from torch.optim import Optimizer
from tqdm import tqdm

from stages.runtime.files import replacing
from stages.runtime.resume import ResumeState
from stages.runtime.seeding import seed_step
from stages.runtime.stage import UserError


class Trainable(nn.Module):
    """What the loop trains. Networks are submodules, running means are buffers, training data are plain attributes."""

    optimizers: dict[str, Optimizer]

    def update(self, step: int) -> dict[str, Tensor]:
        """Do optimiser step number `step` (from 1) and return detached scalar tensors to record, losses first.

        The loop has seeded torch's global generator with (seed, step) before the call. No `.item()` in here: it waits for
        the device.
        """
        raise NotImplementedError

    def snapshot(self) -> dict[str, Tensor]:
        """What is kept of the training so far: images of fixed latents for a GAN, weights for a classifier."""
        return {}


@dataclass
class Trained:
    """What a training leaves: `history` with one row a recording, and the snapshots by step."""

    history: pd.DataFrame
    snapshots: dict[int, dict[str, Tensor]] = field(default_factory=dict)


def train(
    model: Trainable,
    *,
    run: str,
    seed: int,
    steps: int,
    images_per_step: int,
    snapshots: int,
    state: ResumeState,
    records: int = 200,
    save_every_seconds: float = 60.0,
) -> Trained:
    """Train `model` for `steps` steps and return its history and `snapshots` equally spaced snapshots (the last at the end).

    Values that `update` returns are averaged over each of `records` equal intervals; a NaN or infinity among these averages
    stops the run with a UserError. Every `save_every_seconds` the whole state goes to `state`, from where an interrupted
    run goes on; the caller clears it once its outputs are written. SIGINT and SIGTERM end the step, save, and stop.
    """
    snapshot_steps = spaced(steps, snapshots)
    record_steps = spaced(steps, records)
    rows, kept, pending, done = _load(model, state)
    progress = Progress(run, done, steps, images_per_step)
    saved = time.monotonic()
    with _Interruption() as interruption:
        for step in range(done + 1, steps + 1):
            seed_step(seed, step)
            pending.add(model.update(step))
            if step in record_steps:
                rows.append({"step": step, **pending.take(run)})
            if step in snapshot_steps:
                kept[step] = {name: tensor.detach().cpu().clone() for name, tensor in model.snapshot().items()}
            progress.advance(step, rows)
            due = step in record_steps and time.monotonic() - saved > save_every_seconds
            if step < steps and (due or interruption.asked):
                _save(model, state, rows, kept, pending, step)
                saved = time.monotonic()
            if step < steps and interruption.asked:
                progress.close()
                raise KeyboardInterrupt
    progress.close()
    return Trained(pd.DataFrame(rows), kept)


def spaced(steps: int, count: int) -> set[int]:
    """`count` equally spaced step numbers, the last of them `steps` (all steps where there are fewer than `count`)."""
    return {math.ceil(steps * part / count) for part in range(1, count + 1)} if count else set()


def write_history(path: str | Path, history: pd.DataFrame) -> None:
    """Write a training's history as CSV, six significant digits."""
    with replacing(path) as temporary:
        history.to_csv(temporary, index=False, float_format="%.6g")


class _Averages:
    """Sums of the recorded values since the last recording, kept on the device until they are taken."""

    def __init__(self, sums: dict[str, Tensor] | None = None, counts: dict[str, int] | None = None) -> None:
        self.sums = sums or {}
        self.counts = counts or {}

    def add(self, values: dict[str, Tensor]) -> None:
        for name, value in values.items():
            self.sums[name] = self.sums[name] + value if name in self.sums else value.double()
            self.counts[name] = self.counts.get(name, 0) + 1

    def take(self, run: str) -> dict[str, float]:
        """The averages as numbers; UserError if one is not finite."""
        means = {name: (total / self.counts[name]).item() for name, total in self.sums.items()}
        self.sums, self.counts = {}, {}
        for name, mean in means.items():
            if not math.isfinite(mean):
                raise UserError(f"{run}: {name} became {mean}; lower the learning rate or use precision fp32")
        return means


class Progress:
    """Step, losses, images/s and time left: a bar on a terminal, a line every ten seconds or so in a log file."""

    def __init__(self, run: str, done: int, steps: int, images_per_step: int, *, seconds_between_lines: float = 10.0) -> None:
        self.run, self.done, self.steps, self.images_per_step = run, done, steps, images_per_step
        self.seconds_between_lines = seconds_between_lines
        self.started = self.said = time.monotonic()
        self.bar = tqdm(total=steps, initial=done, desc=run, unit="step", leave=True) if sys.stderr.isatty() else None
        if done:
            print(f"{run}: goes on from step {done}", file=sys.stderr)

    def advance(self, step: int, rows: list[dict[str, float]]) -> None:
        """Say that `step` is done; the newest row's values are shown."""
        if self.bar is not None:
            self.bar.update(1)
            self.bar.set_postfix_str(f"{_listed(rows)} {self._rate(step):.0f} images/s", refresh=False)
        elif time.monotonic() - self.said > self.seconds_between_lines or step == self.steps:
            self.said = time.monotonic()
            left = (self.said - self.started) / (step - self.done) * (self.steps - step)
            print(
                f"{self.run}: step {step}/{self.steps} {_listed(rows)} "
                f"{self._rate(step):.0f} images/s, {tqdm.format_interval(left)} left",
                file=sys.stderr,
                flush=True,
            )

    def close(self) -> None:
        """End the bar's line."""
        if self.bar is not None:
            self.bar.close()

    def _rate(self, step: int) -> float:
        return (step - self.done) * self.images_per_step / max(time.monotonic() - self.started, 1e-9)


def _listed(rows: list[dict[str, float]]) -> str:
    return " ".join(f"{name} {value:.3g}" for name, value in rows[-1].items() if name != "step") if rows else ""


class _Interruption:
    """While entered, SIGINT and SIGTERM only set `asked`, so that no step is torn in two."""

    def __enter__(self) -> "_Interruption":
        self.asked = False
        self.previous = {number: signal.signal(number, self._ask) for number in (signal.SIGINT, signal.SIGTERM)}
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self.previous.items():
            signal.signal(number, handler)

    def _ask(self, *_: object) -> None:
        self.asked = True


def _save(model: Trainable, state: ResumeState, rows: list, kept: dict, pending: _Averages, step: int) -> None:
    optimizers = {name: optimizer.state_dict() for name, optimizer in model.optimizers.items()}
    loop = {"step": step, "rows": rows, "kept": kept, "sums": pending.sums, "counts": pending.counts}
    state.save({"loop": loop, "model": model.state_dict(), "optimizers": optimizers})


def _load(model: Trainable, state: ResumeState) -> tuple[list[dict[str, float]], dict[int, dict[str, Tensor]], _Averages, int]:
    """Put a saved state into the model; returns history rows, snapshots, unfinished averages and the step (0: none)."""
    saved = state.load()
    if saved is None:
        return [], {}, _Averages(), 0
    model.load_state_dict(saved["model"])
    for name, optimizer in model.optimizers.items():
        optimizer.load_state_dict(saved["optimizers"][name])
    loop = saved["loop"]
    return loop["rows"], loop["kept"], _Averages(loop["sums"], loop["counts"]), loop["step"]
