"""Kill stages at random points and see whether they end as if nothing had happened.

`python -m tests.faults.campaign --kills 1000 --seed 1` builds the tiny study in a temporary folder, kills its stages a thousand
times (`--only train_acgan adapt` keeps to some), and prints a line for every scenario. It stops at the first that ends otherwise.
"""

import argparse
import random
import tempfile
import time
from pathlib import Path

from tests.faults.house import House, Stage

# What a training is worth in kills, where another stage is worth one.
WEIGHT = 4
KILLED = -9


def draw(house: House, stage: Stage, dice: random.Random) -> dict:
    """Where to kill the stage: in the middle of a file it writes, or at any Python call of a trainer, any moment of another."""
    counts = house.counts[stage]
    if dice.random() < 0.4 and counts["files"]:
        return {"torn": dice.randint(1, counts["files"])}
    if stage.trains:
        return {"call": dice.randint(1, counts["calls"])}
    return {"seconds": dice.uniform(0.0, house.seconds[stage])}


def disturb(house: House, stage: Stage, plans: list[dict]) -> int:
    """Run the stage under one plan after the other and then, if it has not finished, in peace; returns how often it was killed.

    AssertionError unless every file is as it was at first, none is left over, and no resume state is.
    """
    house.remove_outs(stage)
    kills, when = 0, f"after {plans}"
    for plan in plans:
        ended = house.run(stage, plan, kill_after=plan.get("seconds"))
        while ended.status == 0 and plan.get("seconds", 0.0) > 0.001:
            # It came too late, since the machine has more time now than when the house was built.
            house.remove_outs(stage)
            plan = {"seconds": plan["seconds"] / 2}
            ended = house.run(stage, plan, kill_after=plan["seconds"])
        assert ended.status in (0, KILLED), f"{stage.name} under {plan}: {ended.output}"
        kills += ended.status == KILLED
        if stage.trains and house.finished(stage):
            # It had less left to do than the plan was drawn for. The next run would begin anew and hide how this one has ended.
            assert_as_at_first(house, stage, when)
            break
    else:
        assert_sound(house, stage, when)
    house.kills += kills
    return kills


def assert_sound(house: House, stage: Stage, when: str, said: str = "") -> str:
    """Run the stage in peace; AssertionError unless everything is as it was at first. Returns what the stage said."""
    ended = house.run(stage)
    assert ended.status == 0, f"{stage.name} {when}: {ended.output}"
    assert said in ended.output, f"{stage.name} {when} said: {ended.output}"
    assert_as_at_first(house, stage, when)
    return ended.output


def assert_as_at_first(house: House, stage: Stage, when: str) -> None:
    """AssertionError unless every file is as it was before anything was disturbed, and no resume state is left."""
    files = house.files()
    changed = sorted(name for name in files.keys() | house.sound.keys() if files.get(name) != house.sound.get(name))
    assert not changed, f"{stage.name} {when} ended with other {', '.join(changed)}"
    assert not house.states(), f"{stage.name} {when} left {house.states()}"


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.faults.campaign", description=__doc__)
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", nargs="*", default=[], metavar="STAGE", help="stages of dvc.yaml, or items of them")
    arguments = parser.parse_args()
    dice = random.Random(arguments.seed)
    with tempfile.TemporaryDirectory() as temporary:
        house = House(Path(temporary))
        chosen = [stage for stage in house.stages if not arguments.only or {stage.kind, stage.name} & set(arguments.only)]
        weights = [WEIGHT if stage.trains else 1 for stage in chosen]
        kills, began = 0, time.monotonic()
        while kills < arguments.kills:
            (stage,) = dice.choices(chosen, weights)
            plans = [draw(house, stage, dice) for _ in range(dice.randint(1, 3))]
            kills += disturb(house, stage, plans)
            print(f"{kills} kills, {time.monotonic() - began:.0f} s: {stage.name} {plans}", flush=True)
        house.close()


if __name__ == "__main__":
    main()
