"""Lay out the codes of source and target test images together on a plane by t-SNE, for one pair and method.

Reads data/pairs/PAIR/test.npz and models/PAIR-METHOD-SEED/weights.safetensors of the first of adaptation.seeds. Writes
results/PAIR-METHOD/embedding.csv: index (into the arrays of data/pairs/PAIR/test.npz), label, prediction, domain, x, y; and,
beside it, reconstructions.npz: what DSN's decoder makes of an image of each digit. Other methods leave that one empty.

    python -m stages.adaptation.embed syn-mnistm dann
"""

from pathlib import Path
from typing import Annotated

import numpy as np
import pandas as pd

from stages.adaptation.method import Method, in_batches, named
from stages.adaptation.networks import DSN
from stages.adaptation.reconstructions import reconstructions
from stages.runtime import device, params
from stages.runtime.errors import UserError
from stages.runtime.files import replacing
from stages.runtime.images import load_digits, save_arrays
from stages.runtime.seeding import numpy_generator
from stages.runtime.stage import run
from stages.runtime.weights import load_weights


def main(
    pair: Annotated[str, "pair of data sets", "adaptation.pairs"],
    method: Annotated[str, "how it is trained", "adaptation.methods"],
) -> None:
    settings, seeds = params.read("embedding", "adaptation.seeds")
    model = device.place(named(method)(), device.pick())
    load_weights(Path("models") / f"{pair}-{method}-{seeds[0]}" / "weights.safetensors", model)
    test = Path("data/pairs") / pair / "test.npz"
    domains = {"source": load_digits(test, "source_test"), "target": load_digits(test, "test")}

    picks = stratified_pair({name: labels for name, (_, labels) in domains.items()}, settings.points, settings.seed)
    codes, tables = [], []
    for domain, (images, labels) in domains.items():
        domain_codes, table = encode(model, images, labels, picks[domain])
        codes.append(domain_codes)
        tables.append(table.assign(domain=domain))
    table = pd.concat(tables, ignore_index=True)
    table[["x", "y"]] = layout(np.concatenate(codes), settings.perplexity, settings.seed)

    folder = Path("results") / f"{pair}-{method}"
    with replacing(folder / "embedding.csv") as temporary:
        table.to_csv(temporary, index=False, float_format="%.4f")
    save_arrays(folder / "reconstructions.npz", **decoded(model, domains, picks))


def decoded(
    model: Method, domains: dict[str, tuple[np.ndarray, np.ndarray]], picks: dict[str, np.ndarray]
) -> dict[str, np.ndarray]:
    """By domain, `reconstructions` of the first pick of each digit; nothing of a method without a decoder."""
    network = getattr(model, "network", None)
    if not isinstance(network, DSN):
        return {}
    found = {}
    for domain, (images, labels) in domains.items():
        _, first = np.unique(labels[picks[domain]], return_index=True)
        found[f"{domain}_images"] = reconstructions(network, images[picks[domain][first]], domain)
    return found


def stratified_pair(labels: dict[str, np.ndarray], points: int, seed: int) -> dict[str, np.ndarray]:
    """Sorted indices into each domain's labels: each digit equally often in all, `points` or what there is.

    UserError where no digit is in all.
    """
    counts = {domain: np.bincount(values, minlength=10) for domain, values in labels.items()}
    available = np.min(list(counts.values()), axis=0)
    quota = np.minimum(available, [points // 10 + (digit < points % 10) for digit in range(10)])
    if not quota.any():
        raise UserError(f"the test images of {' and '.join(labels)} have no digit in common to lay out side by side")
    picks = {}
    for domain, values in labels.items():
        generator = numpy_generator(seed, domain)
        chosen = [generator.permutation(np.flatnonzero(values == digit))[: quota[digit]] for digit in range(10)]
        picks[domain] = np.sort(np.concatenate(chosen))
    return picks


def encode(model: Method, images: np.ndarray, labels: np.ndarray, index: np.ndarray) -> tuple[np.ndarray, pd.DataFrame]:
    """Codes (len(index), features) of the images at `index`, and a table of index, label and prediction."""
    sampled = images[index]
    codes = in_batches(model.embed, sampled).numpy()
    predictions = in_batches(model.predict, sampled).argmax(dim=1).numpy()
    return codes, pd.DataFrame({"index": index, "label": labels[index], "prediction": predictions})


def layout(codes: np.ndarray, perplexity: float, seed: int) -> np.ndarray:
    """Points (n, 2) of codes (n, features) by t-SNE (van der Maaten and Hinton 2008), started from two principal components."""
    if perplexity >= len(codes):
        raise UserError(f"embedding.perplexity {perplexity} must be below the {len(codes)} points that there are")
    # Here, since they take a second, which a wrong pair or missing weights need not wait for.
    from sklearn.manifold import TSNE
    from threadpoolctl import threadpool_limits

    # Threads add up in any order, and t-SNE turns the last digit into another picture: one thread gives the same every time.
    with threadpool_limits(1):
        return TSNE(perplexity=perplexity, init="pca", learning_rate="auto", random_state=seed).fit_transform(codes)


if __name__ == "__main__":
    run(main)
