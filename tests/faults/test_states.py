"""Resume states that are damaged, foreign or in use: never a silent wrong result."""

import hashlib
import json
import random
import re
import shutil

import pytest

from tests.faults.campaign import KILLED, assert_sound

pytestmark = pytest.mark.slow


@pytest.fixture
def saved(house):
    """A function that trains and is killed as soon as so many states are saved; returns its folder of states."""

    def until(stage, saves):
        house.remove_outs(stage)
        assert house.run(stage, {"saves": saves}).status == KILLED
        (folder,) = house.states()
        assert {path.name for path in folder.iterdir()} == {"lock", "state.pt", "previous.pt"}
        return folder

    return until


def truncated(content, dice):
    return content[: dice.randrange(1, len(content))]


def flipped(content, dice):
    place = dice.randrange(len(content))
    return content[:place] + bytes([content[place] ^ 1 << dice.randrange(8)]) + content[place + 1 :]


def emptied(content, dice):
    return b""


def of_another_version(content, dice):
    return described_otherwise(content, version=1)


def of_another_run(content, dice):
    return described_otherwise(content, run="another", fingerprint="0" * 16)


def described_otherwise(content, **changes):
    _, line, payload = content.split(b"\n", 2)
    rest = json.dumps(json.loads(line) | changes).encode() + b"\n" + payload
    return hashlib.sha256(rest).hexdigest().encode() + b"\n" + rest


DAMAGES = {
    truncated: "it is damaged",
    flipped: "it is damaged",
    emptied: "it is damaged",
    of_another_version: "it has version 1 where",
    of_another_run: "it belongs to another-0000000000000000",
}


def trainers(house):
    return [stage for stage in house.stages if stage.trains]


@pytest.mark.parametrize("damage", DAMAGES, ids=lambda damage: damage.__name__)
def test_a_bad_state_is_refused_and_the_previous_one_taken(house, saved, damage):
    dice = random.Random(damage.__name__)
    for stage in trainers(house):
        path = saved(stage, 3) / "state.pt"
        path.write_bytes(damage(path.read_bytes(), dice))
        output = assert_sound(house, stage, f"with a state {damage.__name__}", DAMAGES[damage])
        assert "goes on from step 2" in output


def test_two_bad_states_mean_a_clean_start(house, saved):
    dice = random.Random(0)
    for stage in trainers(house):
        folder = saved(stage, 2)
        for path in (folder / "state.pt", folder / "previous.pt"):
            path.write_bytes(flipped(path.read_bytes(), dice))
        output = assert_sound(house, stage, "with two bad states", "it is damaged")
        assert output.count("it is damaged") == 2
        assert "goes on" not in output


def test_another_training_s_state_is_refused_even_under_this_one_s_name(house, saved):
    (one, other) = [stage for stage in trainers(house) if stage.kind == "adapt"][:2]
    foreign = saved(other, 2)
    content = (foreign / "state.pt").read_bytes()
    house.restore()
    folder = saved(one, 2)
    about = json.loads((folder / "state.pt").read_bytes().split(b"\n", 2)[1])
    disguised = described_otherwise(content, run=about["run"], fingerprint=about["fingerprint"])
    for name, bad in (("state.pt", content), ("previous.pt", disguised)):
        (folder / name).write_bytes(bad)
    output = assert_sound(house, one, "with another training's states", "it belongs to mydigits")
    assert "previous.pt is left out, it belongs to another training" in output
    assert "goes on" not in output


def another_rate(house):
    house.change_param("judge.lr", 0.002)


def another_seed(house):
    house.change_param("judge.seed", 5)


def another_input(house):
    shutil.copy(house.folder / "data/prepared/mfeat.npz", house.folder / "data/prepared/mydigits.npz")


def other_code(house):
    with (house.folder / "stages/runtime/schedule.py").open("a") as file:
        file.write("# another comment\n")


@pytest.mark.parametrize("change", [another_rate, another_seed, another_input, other_code], ids=lambda change: change.__name__)
def test_a_change_starts_clean_and_undoing_it_goes_on(house, saved, change):
    (stage,) = [stage for stage in trainers(house) if stage.kind == "train_judge"]
    folder = saved(stage, 5)
    state = (folder / "state.pt").read_bytes()
    change(house)
    ended = house.run(stage)
    assert ended.status == 0 and "goes on" not in ended.output
    assert house.states() == [folder]
    assert (folder / "state.pt").read_bytes() == state
    house.restore()
    folder.mkdir(parents=True)
    (folder / "state.pt").write_bytes(state)
    assert_sound(house, stage, "with the change undone", "goes on from step 5")


def test_a_schema_that_gives_no_values_is_no_change(house, saved):
    (stage,) = [stage for stage in trainers(house) if stage.kind == "train_judge"]
    saved(stage, 5)
    with (house.folder / "stages/runtime/schema.py").open("a") as file:
        file.write("# another comment\n")
    assert "goes on from step 5" in house.run(stage).output


RATES = {
    "train_stylegan2": "stylegan2.train.lr_generator",
    "train_acgan": "acgan.train.lr_generator",
    "train_judge": "judge.lr",
    "adapt": "adaptation.common.lr",
    "adapt_target": "adaptation.common.lr",
}


def test_a_diverging_training_leaves_nothing_but_its_last_good_state(house):
    for stage in trainers(house):
        house.remove_outs(stage)
        house.change_param(RATES[stage.kind], 1e30)
        before = house.files()
        ended = house.run(stage)
        assert ended.status == 1 and "Traceback" not in ended.output, f"{stage.name}: {ended.output}"
        (line,) = [line for line in ended.output.splitlines() if line.startswith("error: ")]
        assert re.search(r" became \S+ at step \d+: training has diverged .* lower the learning rate", line), line
        assert house.files() == before
        last_good = [(folder / "state.pt").exists() for folder in house.states()]
        assert last_good == ([True] if "last good state" in line else []), line
        house.restore()
        house.remove_outs(stage)
        assert "goes on" not in assert_sound(house, stage, "at a sound learning rate")


def test_states_are_listed_and_removed(house, saved):
    (stage,) = [stage for stage in trainers(house) if stage.kind == "train_judge"]
    folder = saved(stage, 5)
    listed = house.by_hand("--list").stdout
    assert listed.startswith(f"{folder.relative_to(house.folder)}  step 5  0.0 h ago  ") and "goes on where" in listed
    other_code(house)
    assert "stale: stages/runtime/schedule.py changed since" in house.by_hand("--list").stdout
    refused = house.by_hand("--clear", "judje")
    assert refused.returncode == 1 and refused.stderr.count("\n") == 1 and "judje" in refused.stderr
    assert "is removed" in house.by_hand("--clear", "judge").stdout
    assert not house.states()
    assert house.by_hand("--list").stdout == ".resume holds no saved states\n"
