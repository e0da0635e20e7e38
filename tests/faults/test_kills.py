"""A stage that is killed anywhere, any number of times, ends as if nothing had happened. A larger campaign: campaign.py."""

import csv
import random

import pytest
import yaml

from stages.adaptation.method import METHODS
from tests.faults.campaign import disturb, draw
from tests.faults.house import EXEMPT
from tests.pipeline.clone import ROOT

pytestmark = pytest.mark.slow
KINDS = [kind for kind in yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"] if kind != EXEMPT]
SEED = 20
# Times that each item of a stage is disturbed, and kills each time.
TRAINER_ROUNDS, OTHER_ROUNDS, KILLS = 3, 1, 2


@pytest.mark.parametrize("kind", KINDS)
def test_killed_stages_end_as_undisturbed_ones(house, kind):
    dice = random.Random(f"{SEED} {kind}")
    items = [stage for stage in house.stages if stage.kind == kind]
    assert items, f"the house has no {kind}"
    kills = 0
    for stage in items:
        for _ in range(TRAINER_ROUNDS if stage.trains else OTHER_ROUNDS):
            kills += disturb(house, stage, [draw(house, stage, dice) for _ in range(KILLS)])
    print(f"{kind}: killed {kills} times")
    assert kills


def test_every_method_is_among_the_killed(house):
    trained = [stage.name for stage in house.stages if stage.trains]
    assert {method for method in METHODS if any(f"-{method}-" in name for name in trained)} == set(METHODS)
    assert {"train_stylegan2@0", "train_acgan@0", "train_judge"} <= set(trained)


def test_adaptive_augmentation_is_at_work_in_a_training_among_the_killed(house):
    """Were its p always 0, a state that has lost it would go unnoticed."""
    with (house.folder / "results/stylegan2-0/history.csv").open() as file:
        p = [float(row["ada_p"]) for row in csv.DictReader(file)]
    assert p[0] == 0
    # Steps of a training that goes on from a state are under its influence, too.
    assert p[-3] > 0


def test_a_rule_takes_a_snapshot_before_the_last_of_some_training_among_the_killed(house):
    """One that, where the training was killed late, another process has made and the state has kept."""
    earlier = set()
    for stage in [stage for stage in house.stages if stage.kind == "adapt"]:
        folder = house.folder / "models" / stage.name.partition("@")[2]
        *before, last = (path.read_bytes() for path in sorted((folder / "snapshots").iterdir()))
        content = (folder / "weights.safetensors").read_bytes()
        assert content in (*before, last), stage.name
        earlier |= {stage.name} if content != last else set()
    assert earlier


def test_all_together_are_enough(house, request):
    items = [item for item in request.session.items if item.path == request.path and hasattr(item, "callspec")]
    asked = {item.callspec.params["kind"] for item in items}
    if asked != set(KINDS):
        pytest.skip("only some stages were killed")
    assert house.kills >= 60
