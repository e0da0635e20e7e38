"""How long each stage takes to start, beside `import torch` alone, which a stage with a network can't do without.

    python -m benchmarks.startup

Starting is `python -m stages.STAGE --help`: Python itself, all imports and the command line. Each round starts every stage once.
"""

import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from statistics import median

from benchmarks.common import duration, interleaved, machine

ROOT = Path(__file__).resolve().parents[1]
ROUNDS = 2


def main() -> None:
    print(machine())
    stages = sorted({*re.findall(r"python -m (stages\.[\w.]+)", (ROOT / "dvc.yaml").read_text()), "stages.runtime.params"})
    forms = {"import torch": starting("-c", "import torch"), "python alone": starting("-c", "pass")}
    forms |= {stage: starting("-m", stage, "--help") for stage in stages}
    seconds = interleaved(forms, rounds=ROUNDS, repeats=1)
    for name, values in sorted(seconds.items(), key=lambda item: median(item[1])):
        ratios = [own / torch for own, torch in zip(values, seconds["import torch"], strict=True)]
        spread = f"{median(ratios):.2f}x ({min(ratios):.2f}-{max(ratios):.2f}) of import torch"
        print(f"{name.removeprefix('stages.'):30} {spread}, {duration(median(values))}")


def starting(*words: str) -> Callable[[], None]:
    """Python started with these words, to its end."""

    def start() -> None:
        subprocess.run([sys.executable, *words], cwd=ROOT, check=True, stdout=subprocess.DEVNULL)

    return start


if __name__ == "__main__":
    main()
