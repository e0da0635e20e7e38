"""Score a trained classifier on the whole target test split, its snapshots for the accuracy curve, and how alike its codes are.

Reads models/PAIR-METHOD-SEED/, and of data/pairs/PAIR the test images of test.npz, of train.npz the held-out source images and,
without labels, the target's. Writes results/PAIR-METHOD-SEED/evaluation.json; accuracies are fractions. Its `selection` tells
which snapshot each rule of adaptation.common.selection would take, and the regret: how far the accuracy of the best lies above
that one's. With adaptation.images.oracle_dev it holds the accuracy on those labelled images, which are for tuning alone.

    python -m stages.adaptation.evaluate syn-mnistm dann 0
"""

import filecmp
from pathlib import Path
from typing import Annotated, Any

import numpy as np

from stages.adaptation import selection
from stages.adaptation.method import Method, in_batches, named
from stages.runtime import device, params
from stages.runtime.accuracy import classification_report
from stages.runtime.files import write_json
from stages.runtime.images import load_digits, load_unlabelled_digits
from stages.runtime.seeding import numpy_generator
from stages.runtime.stage import run
from stages.runtime.weights import load_weights

# Images of each domain by whose codes a linear classifier tries to tell the domains apart.
MOST = 2000


def main(
    pair: Annotated[str, "pair of data sets", "adaptation.pairs"],
    method: Annotated[str, "how it is trained; target_only is the bound", "adaptation.methods"],
    seed: Annotated[int, "seed of the run", "adaptation.seeds"],
) -> None:
    (oracle_dev,) = params.read("adaptation.images.oracle_dev")
    model = device.place(named(method)(), device.pick())
    data, models = Path("data/pairs") / pair, Path("models") / f"{pair}-{method}-{seed}"
    images, labels = load_digits(data / "test.npz", "test")
    validation_images, validation_labels = load_digits(data / "train.npz", "validation")
    dev = load_digits(data / "test.npz", "oracle_dev") if oracle_dev else None
    rules = selection.rules_for(method)
    target = load_unlabelled_digits(data / "train.npz", "target") if len(rules) > 1 else None

    load_weights(models / "weights.safetensors", model)
    report = classification_report(labels, predictions(model, images))
    validation = classification_report(validation_labels, predictions(model, validation_images))
    found = {"source_validation_accuracy": validation["accuracy"]}
    if dev:
        found["oracle_dev_accuracy"] = classification_report(dev[1], predictions(model, dev[0]))["accuracy"]
    found["proxy_a_distance"] = proxy_a_distance(codes(model, validation_images, seed), codes(model, images, seed), seed)
    curve, scored = score_snapshots(model, models, report["accuracy"], images, labels, target)
    found |= {"curve": curve, "selection": {rule: choice(curve, scored, rule) for rule in rules} if curve else {}}

    write_json(Path("results") / models.name / "evaluation.json", report | found)


def predictions(model: Method, images: np.ndarray) -> np.ndarray:
    """The most probable digit of each image (n, 28, 28, 3) uint8, int64 (n,)."""
    return in_batches(model.predict, images).argmax(dim=1).numpy()


def score_snapshots(
    model: Method, folder: Path, accuracy: float, images: np.ndarray, labels: np.ndarray, target: np.ndarray | None
) -> tuple[list[dict[str, float]], dict[int, dict[str, float]]]:
    """Step and accuracy of each snapshots/STEP.safetensors of a run's folder, in the order of steps; and by step the scores that
    need no labels, where there are `target` images.

    One of them is as a rule the run's weights once more, byte for byte, whose `accuracy` is known.
    """
    curve, scored = [], {}
    for path in sorted((folder / "snapshots").glob("*.safetensors"), key=lambda path: int(path.stem)):
        step, known = int(path.stem), filecmp.cmp(path, folder / "weights.safetensors", shallow=False)
        load_weights(path, model)
        found = accuracy if known else classification_report(labels, predictions(model, images))["accuracy"]
        curve.append({"step": step, "accuracy": found})
        scored[step] = {} if target is None else selection.scores(model, target)
    return curve, scored


def choice(curve: list[dict[str, float]], scored: dict[int, dict[str, float]], rule: str) -> dict[str, Any]:
    """The step that a rule takes, and by how much the accuracy of the best one exceeds that step's."""
    accuracies = {point["step"]: point["accuracy"] for point in curve}
    step = selection.choose(scored, rule)
    return {"step": step, "regret": max(accuracies.values()) - accuracies[step]}


def codes(model: Method, images: np.ndarray, seed: int) -> np.ndarray:
    """Codes (n, features) of up to MOST images, drawn at random."""
    drawn = np.sort(numpy_generator("proxy", seed).permutation(len(images))[:MOST])
    return in_batches(model.embed, images[drawn]).numpy()


def proxy_a_distance(source: np.ndarray, target: np.ndarray, seed: int) -> float | None:
    """How well a linear classifier tells the domains apart by codes (n, features) and (m, features): 2 (1 - 2 error).

    About 0 where it only guesses, 2 where it is always right (Ben-David et al. 2007; Ganin et al. 2016, section 5.1.5). Of each
    domain it takes equally many codes, learns from one half, standardised, and errs on the other; None if there is but one code.
    """
    half = min(len(source), len(target)) // 2
    if not half:
        return None
    # Here, since it takes a second, which a wrong pair or missing weights need not wait for.
    from sklearn.linear_model import LogisticRegression
    from threadpoolctl import threadpool_limits

    generator = numpy_generator("halves", seed)
    drawn = [part[generator.permutation(len(part))[: 2 * half]].astype(np.float64) for part in (source, target)]
    seen, unseen = (np.concatenate([part[side] for part in drawn]) for side in (slice(half), slice(half, None)))
    mean, deviation = seen.mean(axis=0), seen.std(axis=0)
    domains = np.repeat([0, 1], half)
    # Threads add up in any order.
    with threadpool_limits(1):
        classifier = LogisticRegression(max_iter=1000).fit((seen - mean) / (deviation + 1e-6), domains)
        error = np.mean(classifier.predict((unseen - mean) / (deviation + 1e-6)) != domains)
    return float(2 * (1 - 2 * error))


if __name__ == "__main__":
    run(main)
