import errno
import os
import signal
import sys
from types import SimpleNamespace

import pandas as pd
import pytest
import torch
from torch import nn

from stages.runtime import seeding, training
from stages.runtime.errors import UserError
from stages.runtime.resume import ResumeState
from stages.runtime.weights import load_weights, save_weights


class Fit(training.Trainable):
    """A linear map fitted to noise, with dropout: every kind of state and randomness a real model has."""

    def __init__(self, stop_at: int | None = None, fail: str | None = None) -> None:
        super().__init__()
        self.net = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Dropout(0.5), nn.Linear(4, 1))
        self.optimizers = {"net": torch.optim.Adam(self.net.parameters(), 0.01)}
        self.stop_at, self.fail = stop_at, fail

    def update(self, step):
        if step == self.stop_at:
            raise KeyboardInterrupt
        loss = self.net(torch.randn(8, 3)).square().mean()
        if self.fail and step >= 7:
            loss = loss * float(self.fail)
        self.optimizers["net"].zero_grad()
        loss.backward()
        self.optimizers["net"].step()
        number = torch.tensor(float(step))
        return {"loss": loss.detach(), "number": number} | ({"rare": number} if step % 4 == 0 else {})

    def snapshot(self):
        return {"weight": self.net[0].weight}


@pytest.fixture
def state(tmp_path, monkeypatch):
    monkeypatch.setenv("RESUME_DIR", str(tmp_path / "resume"))
    return ResumeState("fit-0", {"steps": 20}, [])


def train(model, state, **options):
    return training.train(model, run="fit-0", seed=0, steps=20, images_per_step=8, state=state, records=10, **options)


def fit(state, **options):
    torch.manual_seed(0)
    model = Fit(**options)
    return model, train(model, state, snapshots=4, save_every_seconds=0.0)


def test_an_interrupted_run_ends_as_an_undisturbed_one_bit_for_bit(state, tmp_path):
    whole, expected = fit(ResumeState("other", None, []))
    with pytest.raises(KeyboardInterrupt):
        fit(state, stop_at=14)
    assert (state.folder / "state.pt").exists()
    resumed, trained = fit(state)
    for name, tensor in whole.state_dict().items():
        assert torch.equal(tensor, resumed.state_dict()[name]), name
    assert trained.history == expected.history
    assert trained.snapshots.keys() == expected.snapshots.keys() == {5, 10, 15, 20}
    assert all(torch.equal(trained.snapshots[step]["weight"], kept["weight"]) for step, kept in expected.snapshots.items())
    state.clear()
    assert not state.folder.exists()


@pytest.mark.parametrize(("number", "at"), [(signal.SIGINT, 7), (signal.SIGTERM, 7), (signal.SIGHUP, 7), (signal.SIGTERM, 20)])
def test_a_signal_ends_the_step_saves_and_the_next_run_goes_on(state, number, at):
    whole, expected = fit(ResumeState("other", None, []))

    class Signalled(Fit):
        def update(self, step):
            if step == at:
                os.kill(os.getpid(), number)
            return super().update(step)

    def before(*_):
        raise AssertionError("came outside of the loop")

    found = signal.signal(number, before)
    torch.manual_seed(0)
    with pytest.raises(KeyboardInterrupt, match=f"^fit-0: stopped at step {at}; the same command goes on from step {at}$"):
        training.train(
            Signalled(),
            run="fit-0",
            seed=0,
            steps=20,
            images_per_step=8,
            snapshots=4,
            state=state,
            records=10,
            save_every_seconds=1e9,
        )
    assert signal.signal(number, found) is before
    assert state.load()["loop"]["step"] == at
    resumed, trained = fit(state)
    assert all(torch.equal(tensor, resumed.state_dict()[name]) for name, tensor in whole.state_dict().items())
    assert trained.history == expected.history


def test_the_resumed_run_does_not_start_again(state):
    with pytest.raises(KeyboardInterrupt):
        fit(state, stop_at=14)
    seen = []

    class Watched(Fit):
        def update(self, step):
            seen.append(step)
            return super().update(step)

    train(Watched(), state, snapshots=0, save_every_seconds=1e9)
    assert seen == list(range(14, 21))


def test_history_holds_the_average_of_each_interval(state):
    _, trained = fit(state)
    assert [row["step"] for row in trained.history] == list(range(2, 21, 2))
    assert [row["number"] for row in trained.history] == [step - 0.5 for step in range(2, 21, 2)]
    assert [row["rare"] for row in trained.history if "rare" in row] == [4.0, 8.0, 12.0, 16.0, 20.0]


@pytest.mark.parametrize("bad", ["nan", "inf", "-inf", "1e9"])
def test_a_diverged_loss_stops_the_run_with_its_step_and_name_and_keeps_the_last_good_state(state, bad):
    with pytest.raises(
        UserError, match=r"^fit-0: loss became \S+ at step 7: .*last good state, step 6, .*learning rate"
    ) as raised:
        fit(state, fail=bad)
    assert "\n" not in str(raised.value)
    kept = state.load()
    assert kept["loop"]["step"] == 6
    assert all(tensor.isfinite().all() for tensor in kept["model"].values())


def test_the_exact_step_of_divergence_is_found_though_losses_are_seldom_looked_at(state):
    with pytest.raises(UserError, match="loss became nan at step 7: .*no state was saved"):
        train(Fit(fail="nan"), state, snapshots=0, save_every_seconds=1e9)


def test_divergence_between_recordings_is_seen_long_before_the_next_one(state):
    seen = []

    class Long(Fit):
        def update(self, step):
            seen.append(step)
            return super().update(step)

    with pytest.raises(UserError, match="at step 7"):
        training.train(Long(fail="nan"), run="fit-0", seed=0, steps=1000, images_per_step=8, snapshots=0, state=state, records=1)
    assert len(seen) <= 20


def test_an_interruption_after_divergence_saves_no_bad_state(state):
    class Interrupted(Fit):
        def update(self, step):
            if step == 8:
                os.kill(os.getpid(), signal.SIGTERM)
            return super().update(step)

    with pytest.raises(UserError, match="at step 7"):
        train(Interrupted(fail="nan"), state, snapshots=0, save_every_seconds=1e9)
    assert state.load() is None


@pytest.mark.parametrize("where", ["weights", "optimiser"])
def test_weights_that_are_no_numbers_are_neither_saved_nor_handed_on(state, where):
    class Broken(Fit):
        def update(self, step):
            values = super().update(step)
            if step == 9:
                broken = self.net[0].weight if where == "weights" else self.optimizers["net"].state[self.net[0].weight]["exp_avg"]
                broken.data[0, 0] = float("inf")
            return {name: torch.zeros(()) for name in values}

    with pytest.raises(
        UserError, match=r"(net\.0\.weight|net optimiser's exp_avg 0) became (inf|nan) at step (9|20): .*diverged"
    ):
        train(Broken(), state, snapshots=0, save_every_seconds=0.0)
    assert state.load()["loop"]["step"] == 8
    state.clear()
    with pytest.raises(UserError, match="at step 20: .*no state was saved"):
        train(Broken(), state, snapshots=0, save_every_seconds=1e9)


def test_large_values_of_a_sound_training_are_no_divergence(state):
    class Large(Fit):
        def update(self, step):
            return super().update(step) | {"score": torch.tensor(-9e5)}

    assert {row["score"] for row in train(Large(), state, snapshots=0).history} == {-9e5}


def test_a_state_that_can_t_be_saved_is_said_and_training_goes_on(state, monkeypatch, capsys):
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    _, trained = fit(state)
    assert len(trained.history) == 10
    lines = [line for line in capsys.readouterr().err.splitlines() if "can't be written" in line]
    assert lines and all("no space left on device: free some" in line and "training goes on" in line for line in lines)
    assert not state.load()


def test_saving_takes_a_small_share_of_the_time_however_long_it_takes(state, monkeypatch):
    saves, now = [], 0.0

    class Timed(Fit):
        def update(self, step):
            nonlocal now
            now += 4.0
            return super().update(step)

    def slow(content, step):
        nonlocal now
        saves.append(step)
        now += 1.0

    monkeypatch.setattr(state, "save", slow)
    monkeypatch.setattr(training, "time", SimpleNamespace(monotonic=lambda: now))
    train(Timed(), state, snapshots=0, save_every_seconds=1e-9)
    # A second of saving is followed by twenty of training, six steps.
    assert saves == [1, 7, 13, 19]


def test_a_silent_terminal_stops_no_training(state, monkeypatch):
    class Gone:
        def write(self, _):
            raise BrokenPipeError

        flush = isatty = lambda self: False

    monkeypatch.setattr(sys, "stderr", Gone())
    _, trained = fit(state)
    assert len(trained.history) == 10


@pytest.mark.parametrize(
    ("steps", "count", "expected"), [(10, 5, {2, 4, 6, 8, 10}), (3, 8, {1, 2, 3}), (7, 2, {4, 7}), (5, 0, set())]
)
def test_recordings_are_equally_spaced_and_end_at_the_last_step(steps, count, expected):
    assert training.spaced(steps, count) == expected


def test_progress_in_a_log_names_step_losses_rate_and_time_left(capsys):
    progress = training.Progress("fit-0", 0, 4, 8, seconds_between_lines=0)
    progress.advance(2, [{"step": 2, "loss": 0.25}])
    line = capsys.readouterr().err
    assert line.startswith("fit-0: step 2/4 loss 0.25 ")
    assert "images/s" in line and line.rstrip().endswith("left")


def test_a_step_s_random_numbers_depend_on_seed_and_step_alone():
    seeding.seed_step(3, 5)
    first = torch.rand(4)
    torch.rand(100)
    seeding.seed_step(3, 5)
    assert torch.equal(torch.rand(4), first)
    seeding.seed_step(3, 6)
    assert not torch.equal(torch.rand(4), first)
    torch.manual_seed(seeding.mix(3, 5))
    assert torch.equal(torch.rand(4), first)


def test_every_gpu_is_seeded_where_there_is_one(monkeypatch):
    seeds = []
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "manual_seed_all", seeds.append)
    seeding.seed_step(3, 5)
    assert seeds == [seeding.mix(3, 5)]


def test_weights_of_another_model_are_refused_in_one_line(tmp_path):
    save_weights(tmp_path / "w.safetensors", {f"net.{name}": value for name, value in nn.Linear(3, 4).state_dict().items()})
    model = nn.Linear(3, 4)
    load_weights(tmp_path / "w.safetensors", model, prefix="net.")
    for other in (nn.Linear(3, 5), nn.Conv2d(3, 4, 1), nn.Linear(3, 4, bias=False)):
        with pytest.raises(UserError, match="another model") as raised:
            load_weights(tmp_path / "w.safetensors", other, prefix="net.")
        assert "\n" not in str(raised.value)


@pytest.mark.parametrize("content", [b"", b"\x80\x04K\x01.", b"\xff" * 100])
def test_what_is_no_weight_file_is_refused(tmp_path, content):
    (tmp_path / "w.safetensors").write_bytes(content)
    with pytest.raises(UserError, match="no readable safetensors"):
        load_weights(tmp_path / "w.safetensors", nn.Linear(1, 1))
    assert os.listdir(tmp_path) == ["w.safetensors"]


def test_a_history_is_written_as_pandas_would(tmp_path):
    rows = [{"step": 1, "loss": 1 / 3, "score": 123456789.0}, {"step": 20, "loss": 5.0, "score": 1e-7, "rare": -0.0}]
    training.write_history(tmp_path / "ours.csv", rows)
    pd.DataFrame(rows).to_csv(tmp_path / "theirs.csv", index=False, float_format="%.6g")
    assert (tmp_path / "ours.csv").read_bytes() == (tmp_path / "theirs.csv").read_bytes()
