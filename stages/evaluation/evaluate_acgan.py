"""Score ACGAN's digits: how often the judge sees the digit that was asked for, and how diverse it finds those of a class.

Reads samples/acgan-SEED.npz, data/prepared/DATASET.npz, models/judge/weights.safetensors and results/judge/evaluation.json, and
leaves results/acgan-SEED/evaluation.json, with what real digits get beside each figure.

    python -m stages.evaluation.evaluate_acgan 0
"""

from functools import partial
from typing import Annotated

from stages.evaluation.diversity import diversity
from stages.evaluation.judge import Judge, features, predict
from stages.runtime import device, params
from stages.runtime.accuracy import classification_report
from stages.runtime.errors import UserError
from stages.runtime.files import read_json, write_json
from stages.runtime.images import load_digits
from stages.runtime.stage import run
from stages.runtime.weights import load_weights


def main(seed: Annotated[int, "seed of the run", "acgan.seeds"]) -> None:
    dataset, neighbours, draw = params.read("acgan.dataset", "evaluation.metrics.neighbours", "evaluation.metrics.seed")
    images, labels = load_digits(f"samples/acgan-{seed}.npz")
    train, test = (load_digits(f"data/prepared/{dataset}.npz", split) for split in ("train", "test"))
    judge, where = Judge(), device.pick()
    load_weights("models/judge/weights.safetensors", judge)
    judge_test_accuracy = read_accuracy("results/judge/evaluation.json")
    report = classification_report(labels, predict(device.place(judge, where), images, where))
    variety = diversity((images, labels), train, test, partial(features, judge, where=where), neighbours=neighbours, seed=draw)
    scores = {
        **{"judge_accuracy": report.pop("accuracy"), **report, "judge_test_accuracy": judge_test_accuracy},
        "diversity": {"extractor": "judge", **variety},
    }
    write_json(f"results/acgan-{seed}/evaluation.json", scores)


def read_accuracy(path: str) -> float:
    """The judge's own accuracy on real test digits; UserError where the file doesn't hold it."""
    content = read_json(path)
    accuracy = content.get("test_accuracy") if isinstance(content, dict) else None
    if not isinstance(accuracy, float) or not 0 <= accuracy <= 1:
        raise UserError(f"{path} holds no test_accuracy between 0 and 1: delete it and run `dvc repro`")
    return accuracy


if __name__ == "__main__":
    run(main)
