"""The Fréchet distance from moments at Inception's 2,048 features: ours beside pytorch-fid's, and streamed moments beside np.cov.

    python -m benchmarks.frechet

Features are Gaussian with variances that fall with a power of their rank, in a random basis, as a trained network's do; the
means are as far apart as those of a middling generator. Two cases: 2,621 test images against 1,000 samples, fewer than
features; and 10,000 against 10,000, both covariances positive definite. Both forms get the same moments. Ours must agree to
1e-9 with the exact value: tr (S1 S2)^(1/2) is the sum of the singular values of X1 X2^T, X the centred features over sqrt(n - 1).
The two forms must agree to 1e-6 where both covariances are positive definite; by how much they differ is printed in both cases.
Where one is singular so is the product, and the root that sqrtm takes of it is itself wrong by some 1e-6: roots of rounding
errors in the place of zeros.
"""

import warnings

import numpy as np

from benchmarks.common import interleaved, machine, ratio_line
from stages.evaluation.frechet import distance, moments_of

DIMENSIONS = 2048
DECAY, TRACE, APART = 1.5, 100.0, 0.08
CASES = {"2,621 against 1,000": (2621, 1000), "10,000 against 10,000": (10_000, 10_000)}
AGREEMENT, EXACTNESS = 1e-6, 1e-9


def main() -> None:
    print(machine())
    for name, (real, fake) in CASES.items():
        compare(name, features(real, 0), features(fake, 1))
    sample = features(10_000, 0)
    forms = {"plain": lambda: np.cov(sample, rowvar=False), "ours": lambda: moments_of(sample)}
    seconds = interleaved(forms, rounds=5, repeats=1)
    print(ratio_line("moments of 10,000, streamed beside np.cov", seconds["plain"], seconds["ours"]))


def features(count: int, seed: int) -> np.ndarray:
    """Features (count, 2048), float32; each seed has another mean and slightly other variances."""
    basis, _ = np.linalg.qr(np.random.default_rng(99).normal(size=(DIMENSIONS, DIMENSIONS)))
    generator = np.random.default_rng(seed)
    deviations = np.arange(1, DIMENSIONS + 1) ** (-DECAY / 2) * generator.uniform(0.8, 1.2, DIMENSIONS)
    deviations *= np.sqrt(TRACE / (deviations**2).sum())
    mean = 0.4 + APART * generator.normal(size=DIMENSIONS)
    return ((generator.normal(size=(count, DIMENSIONS)) * deviations) @ basis.T + mean).astype(np.float32)


def exact(real: np.ndarray, fake: np.ndarray) -> float:
    """The distance from the features themselves, which rounds no eigenvalue that ought to be zero."""
    means = [side.mean(axis=0, dtype=np.float64) for side in (real, fake)]
    sides = [(side - mean) / np.sqrt(len(side) - 1) for side, mean in zip((real, fake), means, strict=True)]
    if min(map(len, sides)) > DIMENSIONS:
        # The same singular values from triangular factors, X = QR.
        sides = [np.linalg.qr(side, mode="r") for side in sides]
    root = np.linalg.svd(sides[0] @ sides[1].T, compute_uv=False).sum()
    shift = means[0] - means[1]
    return float(shift @ shift + sum((side**2).sum() for side in sides) - 2 * root)


def compare(name: str, real: np.ndarray, fake: np.ndarray) -> None:
    """Time both forms in turns, print ratio, values and how far these are apart; AssertionError where that is too far."""
    from pytorch_fid.fid_score import calculate_frechet_distance

    first, second = moments_of(real), moments_of(fake)
    values: dict[str, float] = {}

    def theirs() -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            moments = first.mean, first.covariance, second.mean, second.covariance
            values["plain"] = float(calculate_frechet_distance(*moments))

    def ours() -> None:
        values["ours"] = distance(first, second)

    seconds = interleaved({"plain": theirs, "ours": ours}, rounds=3, repeats=1)
    truth = exact(real, fake)
    print(ratio_line(f"distance, {name}", seconds["plain"], seconds["ours"]))
    print(f"    exact {truth:.9f}")
    for form, value in values.items():
        print(f"    {form} {value:.9f}, off by {apart(value, truth):.1e} of it")
    singular = min(len(real), len(fake)) <= DIMENSIONS
    asked = "no more is asked of a singular covariance" if singular else f"at most {AGREEMENT:.0e} is asked"
    print(f"    the two are {apart(values['plain'], values['ours']):.1e} apart; {asked}", flush=True)
    assert apart(values["ours"], truth) < EXACTNESS, "ours is not exact"
    assert singular or apart(values["plain"], values["ours"]) < AGREEMENT, "the forms disagree"


def apart(value: float, other: float) -> float:
    """The difference of both as a share of `other`."""
    return abs(value / other - 1)


if __name__ == "__main__":
    main()
