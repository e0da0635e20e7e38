"""The one training loop: progress, history, snapshots, resume, and a stop where a training diverges.

A model to train is an `nn.Module` (`Trainable`) that holds everything it learns as parameters, buffers and optimisers, so
that one checkpoint of these three is the whole state. The loop reads from top to bottom in `train`.

Where several processes train together, all run the same loop on their parts of each batch. The first one alone shows progress
and saves; whether to stop or to save they agree on every STEPS_BETWEEN_LOOKS steps, so that no other step waits for it.
"""

import csv
import math
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from tqdm import tqdm

from stages.runtime import parallel, processes
from stages.runtime.errors import SharedError
from stages.runtime.files import CannotWrite, replacing
from stages.runtime.interruption import Deferred, Interrupted, say, speaks
from stages.runtime.resume import ResumeState
from stages.runtime.seeding import seed_step

# A recorded value beyond this is divergence. Cross-entropies, hinge losses, penalties, scores and path lengths of trainings
# that recover stay below a few thousand; fp32 would still take a while from here to infinity.
LIMIT = 1e6
# Values are looked at after so many steps at the latest: often enough to stop at once, rarely enough not to wait for the device.
STEPS_BETWEEN_LOOKS = 20
# Saving takes no more than this share of the time, whatever the model's size.
SAVING_SHARE = 0.05


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
    """What a training leaves: `history`, one row of step and values a recording, and the snapshots by step."""

    history: list[dict[str, float]]
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
) -> Trained | None:
    """Train `model` for `steps` steps and return its history and `snapshots` equally spaced snapshots (the last at the end).

    Values that `update` returns are averaged over each of `records` equal intervals. One that is NaN, infinite or beyond LIMIT,
    and weights that are not finite, stop the run with a UserError and are never saved. Every `save_every_seconds` the whole
    state goes to `state`, from where an interrupted run goes on; the caller clears it once its outputs are written. Where it
    can't be saved, this is said and training goes on. SIGINT, SIGTERM and SIGHUP end the step, save, and raise Interrupted.

    Of several processes all but the first return None: their caller has nothing to write.
    """
    snapshot_steps = spaced(steps, snapshots)
    record_steps = spaced(steps, records)
    with _held(state), Deferred() as signals:
        rows, kept, pending, done = _load(model, state)
        saves = _Saves(model, state, done, save_every_seconds)
        progress = Progress(run, done, steps, images_per_step)
        step, stopping = done, 0
        for step in range(done + 1, steps + 1):
            seed_step(seed, step)
            pending.add(step, model.update(step))
            last, saving = step == steps, False
            if parallel.world() == 1 or step % STEPS_BETWEEN_LOOKS == 0 or last:
                stopping, due = parallel.largest(signals.asked, saves.due())
                saving = bool(stopping or due and not last)
            if step in record_steps or step % STEPS_BETWEEN_LOOKS == 0 or saving:
                _stop_if_diverged(run, pending.look(), saves)
            if step in record_steps:
                rows.append({"step": step, **pending.take()})
            if step in snapshot_steps and parallel.rank() == 0:
                kept[step] = {name: tensor.detach().cpu().clone() for name, tensor in model.snapshot().items()}
            progress.advance(step, rows)
            if saving or last:
                _stop_if_diverged(run, _no_number(model, step), saves)
            if saving:
                saves.save(step, rows, kept, pending)
            if stopping:
                break
        progress.close()
        [asked] = parallel.largest(stopping or signals.asked)
        if asked:
            if not stopping:
                saves.save(steps, rows, kept, pending)
            processes.part()
            goes_on = f"the same command goes on from step {saves.step}" if saves.step else "no state could be saved"
            raise Interrupted(asked, f"{run}: stopped at step {step}; {goes_on}")
    processes.part()
    return Trained(rows, kept) if parallel.rank() == 0 else None


def spaced(steps: int, count: int) -> set[int]:
    """`count` equally spaced step numbers, the last of them `steps` (all steps where there are fewer than `count`)."""
    return {math.ceil(steps * part / count) for part in range(1, count + 1)} if count else set()


def write_history(path: str | Path, history: list[dict[str, float]]) -> None:
    """Write a training's history as CSV, six significant digits; a value that a row does not have stays empty."""
    columns = list(dict.fromkeys(name for row in history for name in row))
    with replacing(path) as temporary, temporary.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(columns)
        for row in history:
            values = [row.get(name, "") for name in columns]
            writer.writerow([f"{value:.6g}" if isinstance(value, float) else value for value in values])


class _Pending:
    """The values recorded since the last recording: on the device until they are looked at, then as numbers."""

    def __init__(self, numbers: dict[str, list[float]] | None = None) -> None:
        self.numbers = numbers or {}
        self.unseen: dict[str, list[tuple[int, Tensor]]] = {}

    def add(self, step: int, values: dict[str, Tensor]) -> None:
        for name, value in values.items():
            self.unseen.setdefault(name, []).append((step, value))

    def look(self) -> tuple[int, str, float] | None:
        """Step, name and value of the first one that a sound training would not give; averaged over all processes."""
        if not self.unseen:
            return None
        values = [torch.stack([value for _, value in entries]).double() for entries in self.unseen.values()]
        # One copy from the device, and one exchange between processes, for all names together.
        means = iter(parallel.mean(torch.cat([value.to(values[0].device) for value in values])).tolist())
        found = []
        for name, entries in self.unseen.items():
            for (step, _), number in zip(entries, means, strict=False):
                self.numbers.setdefault(name, []).append(number)
                if not abs(number) <= LIMIT:
                    found.append((step, name, number))
        self.unseen = {}
        return min(found, key=lambda one: one[0], default=None)

    def take(self) -> dict[str, float]:
        """The averages of all that has been looked at; the next ones begin anew."""
        means = {name: math.fsum(numbers) / len(numbers) for name, numbers in self.numbers.items()}
        self.numbers = {}
        return means


class _Saves:
    """When the state was last saved, and saving it again."""

    def __init__(self, model: Trainable, state: ResumeState, step: int, seconds: float) -> None:
        self.model, self.state, self.step, self.seconds = model, state, step, seconds
        self.wait, self.at = seconds, time.monotonic()

    def due(self) -> bool:
        """Whether it is time to save by the first process's clock, which alone saves."""
        return parallel.rank() == 0 and time.monotonic() - self.at > self.wait

    def save(self, step: int, rows: list, kept: dict, pending: _Pending) -> None:
        """Have the first process save the state after `step`; where that fails, the last good one stays, and it is said."""
        if parallel.rank() == 0:
            self._write(step, rows, kept, pending)
        [self.step] = parallel.largest(self.step)

    def _write(self, step: int, rows: list, kept: dict, pending: _Pending) -> None:
        began = time.monotonic()
        loop = {"step": step, "rows": rows, "kept": kept, "pending": pending.numbers}
        optimizers = {name: optimizer.state_dict() for name, optimizer in self.model.optimizers.items()}
        try:
            self.state.save({"loop": loop, "model": self.model.state_dict(), "optimizers": optimizers}, step)
            self.step = step
        except CannotWrite as error:
            say(f"{self.state.run}: {error} (training goes on; what was saved last is step {self.step})")
        self.at = time.monotonic()
        self.wait = max(self.seconds, (self.at - began) / SAVING_SHARE) if self.seconds else 0.0


def _stop_if_diverged(run: str, found: tuple[int, str, float] | None, saves: _Saves) -> None:
    """UserError for the step, name and value that were found."""
    if found is None:
        return
    processes.part()
    step, name, value = found
    good = f"the last good state, step {saves.step}, stays in {saves.state.folder}" if saves.step else "no state was saved before"
    raise SharedError(
        f"{run}: {name} became {value:.3g} at step {step}: training has diverged ({good}) and would again with the same "
        "params: lower the learning rate or use precision fp32, and run it again, which starts afresh"
    )


def _no_number(model: Trainable, step: int) -> tuple[int, str, float] | None:
    """Step, name and a value of a tensor of the model or its optimisers that holds NaN or infinity, in any process."""
    found = _not_finite(model)
    [anywhere] = parallel.largest(found is not None)
    return (step, *(found or ("a weight of another process", math.nan))) if anywhere else None


def _not_finite(model: Trainable) -> tuple[str, float] | None:
    tensors = dict(model.state_dict())
    for optimizer_name, optimizer in model.optimizers.items():
        for number, entries in optimizer.state_dict()["state"].items():
            tensors |= {f"{optimizer_name} optimiser's {key} {number}": value for key, value in entries.items()}
    tensors = {name: value for name, value in tensors.items() if torch.is_tensor(value) and value.is_floating_point()}
    by_device: dict[torch.device, list[str]] = {}
    for name, value in tensors.items():
        by_device.setdefault(value.device, []).append(name)
    for names in by_device.values():
        finite = torch.stack([tensors[name].isfinite().all() for name in names]).tolist()
        for name, sound in zip(names, finite, strict=True):
            if not sound:
                value = tensors[name]
                return name, value[~value.isfinite()][0].item()
    return None


class Progress:
    """Step, losses, images/s and time left: a bar on a terminal, a line every ten seconds or so in a log file."""

    def __init__(self, run: str, done: int, steps: int, images_per_step: int, *, seconds_between_lines: float = 10.0) -> None:
        self.run, self.done, self.steps, self.images_per_step = run, done, steps, images_per_step
        self.seconds_between_lines = seconds_between_lines
        self.started = self.said = time.monotonic()
        self.bar = (
            tqdm(total=steps, initial=done, desc=run, unit="step", leave=True) if sys.stderr.isatty() and speaks() else None
        )
        if done:
            say(f"{run}: goes on from step {done}")

    def advance(self, step: int, rows: list[dict[str, float]]) -> None:
        """Say that `step` is done; the newest row's values are shown."""
        if self.bar is not None:
            self.bar.update(1)
            self.bar.set_postfix_str(f"{_listed(rows)} {self._rate(step):.0f} images/s", refresh=False)
        elif time.monotonic() - self.said > self.seconds_between_lines or step == self.steps:
            self.said = time.monotonic()
            left = (self.said - self.started) / (step - self.done) * (self.steps - step)
            say(
                f"{self.run}: step {step}/{self.steps} {_listed(rows)} "
                f"{self._rate(step):.0f} images/s, {tqdm.format_interval(left)} left"
            )

    def close(self) -> None:
        """End the bar's line."""
        if self.bar is not None:
            self.bar.close()

    def _rate(self, step: int) -> float:
        return (step - self.done) * self.images_per_step / max(time.monotonic() - self.started, 1e-9)


def _listed(rows: list[dict[str, float]]) -> str:
    return " ".join(f"{name} {value:.3g}" for name, value in rows[-1].items() if name != "step") if rows else ""


@contextmanager
def _held(state: ResumeState) -> Iterator[None]:
    """The state is the first process's; the others begin once it has it."""
    with state.held() if parallel.rank() == 0 else nullcontext():
        parallel.largest(0)
        yield


def _load(model: Trainable, state: ResumeState) -> tuple[list[dict[str, float]], dict[int, dict[str, Tensor]], _Pending, int]:
    """Put a saved state into the model; returns history rows, snapshots, unfinished averages and the step (0: none).

    UserError where the processes do not find the same one.
    """
    saved = state.load(lambda content: _misfit(content, model))
    loop = saved["loop"] if saved else {"step": 0, "rows": [], "kept": {}, "pending": {}}
    most, least = parallel.largest(loop["step"], -loop["step"])
    if most != -least:
        raise SharedError(
            f"the processes find different states of {state.run}: RESUME_DIR must name a folder that all of them share"
        )
    if saved:
        model.load_state_dict(saved["model"])
        for name, optimizer in model.optimizers.items():
            optimizer.load_state_dict(saved["optimizers"][name])
    else:
        parallel.alike(model)
    return loop["rows"], loop["kept"], _Pending(loop["pending"]), loop["step"]


def _misfit(saved: Any, model: Trainable) -> str | None:
    """Why a saved state can't be this model's, found before any of it is put in: half a state would be worse than none."""
    try:
        shapes = {name: (tuple(tensor.shape), tensor.dtype) for name, tensor in saved["model"].items()}
        groups = {name: [len(group["params"]) for group in one["param_groups"]] for name, one in saved["optimizers"].items()}
        whole = {"step", "rows", "kept", "pending"} <= saved["loop"].keys()
    except (KeyError, TypeError, AttributeError):
        return "is no training's state"
    expected = {name: [len(group["params"]) for group in one.param_groups] for name, one in model.optimizers.items()}
    if not whole or groups != expected:
        return "belongs to another training"
    if shapes != {name: (tuple(tensor.shape), tensor.dtype) for name, tensor in model.state_dict().items()}:
        return "belongs to another model"
    return None
