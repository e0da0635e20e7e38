"""How long t-SNE takes to lay out 2,000 points, as many as the paper preset takes of the two domains of a pair.

    python -m benchmarks.tsne

The codes are made up: 512 numbers that are not negative, around a centre for each digit in each domain.
"""

from statistics import median

import numpy as np

from benchmarks.common import duration, interleaved, machine
from stages.adaptation.embed import layout
from stages.adaptation.networks import CODE
from stages.runtime.seeding import numpy_generator

POINTS, PERPLEXITY, ROUNDS = 2000, 30.0, 3


def main() -> None:
    print(machine())
    points = codes(POINTS)
    seconds = interleaved({"t-SNE": lambda: layout(points, PERPLEXITY, 0)}, rounds=ROUNDS, repeats=1)["t-SNE"]
    spread = f"{duration(median(seconds))} ({duration(min(seconds))} to {duration(max(seconds))})"
    print(f"t-SNE of {POINTS:,} points, on one thread: {spread}")


def codes(count: int) -> np.ndarray:
    """Codes (count, 512) float32 in twenty groups."""
    generator = numpy_generator(0, "codes")
    centres = generator.standard_normal((20, CODE), dtype=np.float32)
    return (centres[np.arange(count) % 20] + generator.standard_normal((count, CODE), dtype=np.float32)).clip(min=0)


if __name__ == "__main__":
    main()
