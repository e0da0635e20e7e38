"""Memory while the number of images grows fourfold: importing, pairing, sampling and evaluating keep to a block of them.

    python -m benchmarks.memory
    python -m benchmarks.memory pair "evaluate a classifier" --images 500000

Each part runs in a process of its own, once on so many images and once on four times as many, made up in a temporary folder.
Its memory is what the process has for itself at most (RssAnon); pages of mapped files, which the kernel takes back whenever
others need them, are not counted. The networks are those of the smoke preset, untrained; a flat one stands for the extractor,
with features and logits as wide as EfficientNet-Lite0's. The data set that is prepared is MNIST-M, whose digits come as one
pickle, which is read whole: that part ends at the 70,000 that there are.
"""

import argparse
import gzip
import io
import os
import pickle
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import torch
import yaml
from PIL import Image
from torch import Tensor, nn

from benchmarks.common import machine, own_memory
from stages.runtime import params
from stages.runtime.files import write_json
from stages.runtime.images import Blocks, in_blocks, load_arrays, save_arrays
from stages.runtime.weights import save_weights

ROOT = Path(__file__).resolve().parents[1]
TIMES = 4
# Parts that may grow: what they read is one file of a fixed size.
WHOLE = ("prepare a data set",)
# Of the growth of the data, what may be seen in memory: malloc's leftovers, and labels, which are eight bytes an image.
FLAT = 0.1


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"all, or of these: {', '.join(PARTS)}")
    parser.add_argument("--images", type=int, help="images at first, for each part's own number")
    parser.add_argument("--alone", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if unknown := set(options.parts) - set(PARTS):
        parser.error(f"there is no part {', '.join(sorted(unknown))}")
    if options.alone:
        print(peak_of(*PARTS[options.parts[0]][1:], options.images))
        return
    print(machine())
    print("| part | images | MB of them | MB of memory | |\n|---|---|---|---|---|")
    growing = []
    for part in options.parts or PARTS:
        first = options.images or PARTS[part][0]
        sizes = first, TIMES * first
        (few, before), (many, after) = (measured(part, size) for size in sizes)
        verdict = "flat" if after - before < FLAT * (many - few) else "grows"
        growing += [part] if verdict == "grows" and part not in WHOLE else []
        counts, data = " and ".join(f"{size:,}" for size in sizes), f"{few / 1e6:.0f} and {many / 1e6:.0f}"
        print(f"| {part} | {counts} | {data} | {before / 1e6:.0f} and {after / 1e6:.0f} | {verdict} |", flush=True)
    if growing:
        sys.exit(f"error: memory grows with the images: {', '.join(growing)}")


def measured(part: str, count: int) -> tuple[int, int]:
    """Bytes of all array files that a part reads and writes, and at most of its memory, in a process and folder of its own."""
    command = [sys.executable, "-m", "benchmarks.memory", part, "--images", str(count), "--alone"]
    with tempfile.TemporaryDirectory() as folder:
        environment = os.environ | {"PYTHONPATH": str(ROOT), "TMPDIR": folder}
        done = subprocess.run(command, cwd=folder, env=environment, check=True, stdout=subprocess.PIPE, text=True)
        return sum(path.stat().st_size for path in Path(folder).rglob("*.npz")), int(done.stdout.split()[-1])


def peak_of(prepare: Callable[[int], None], work: Callable[[int], object], count: int) -> int:
    """Bytes of this process's own memory at most while it does the work, looked at every few milliseconds."""
    content = yaml.safe_load((ROOT / "presets/smoke.yaml").read_text())
    content["data"] |= {"folders": {"faces": str(Path("faces").absolute())}, "folder_face_size": 64}
    content["stylegan2"]["sample"] |= {name: {"count": count, "psi": 1.0} for name in ("report", "clean")}
    content["acgan"]["sample"]["per_class"] = count // 10
    content["adaptation"]["pairs"]["mnistm-mfeat"] |= {"max_source": None, "max_target": None}
    Path("params.yaml").write_text(yaml.safe_dump(content))
    prepare(count)
    peaks, done = [own_memory()], threading.Event()

    def watch() -> None:
        while not done.wait(0.005):
            peaks[0] = max(peaks[0], own_memory())

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    work(count)
    done.set()
    watcher.join()
    return peaks[0]


def noise(path: str, count: int, side: int, *splits: str) -> None:
    """An array file with `count` images of noise in each split, and their labels."""
    block, shape = np.random.default_rng(0), (side, side, 3)
    arrays: dict[str, np.ndarray | Blocks] = {}
    for split in splits:
        sizes = (part.stop - part.start for part in in_blocks(count, shape))
        parts = (block.integers(256, size=(size, *shape), dtype=np.uint8) for size in sizes)
        arrays |= {f"{split}images": Blocks((count, *shape), parts), f"{split}labels": np.arange(count) % 10}
    save_arrays(path, **arrays)


def pictures(count: int) -> None:
    """A folder of one picture, many times, in the form of a user's own faces."""
    picture = io.BytesIO()
    Image.fromarray(np.random.default_rng(0).integers(256, size=(80, 64, 3), dtype=np.uint8)).save(picture, "JPEG")
    for split, number in (("train", count), ("test", 2)):
        (Path("faces") / split).mkdir(parents=True)
        for index in range(number):
            (Path("faces") / split / f"{index:06d}.jpg").write_bytes(picture.getvalue())


def import_faces(count: int) -> None:
    from stages.data import import_folder

    import_folder.main("faces")


def raw_digits(count: int) -> None:
    """MNIST in the form of its package, a seventh of it for testing, black, and a photograph of noise to blend it with."""
    raw, test = Path("data/raw/mnistm"), count // 7
    (raw / "photos").mkdir(parents=True)
    photo = np.random.default_rng(0).integers(256, size=(300, 400, 3), dtype=np.uint8)
    Image.fromarray(photo).save(raw / "photos/noise.png")
    parts = tuple((np.zeros((number, 784), np.float32), np.arange(number) % 10) for number in (count - 2 * test, test, test))
    with gzip.open(raw / "mnist.pkl.gz", "wb", compresslevel=1) as file:
        pickle.dump(parts, file)


def prepare_digits(count: int) -> None:
    from stages.data import prepare

    prepare.main("mnistm")


def domains(count: int) -> None:
    for dataset in ("mnistm", "mfeat"):
        noise(f"data/prepared/{dataset}.npz", count, 32, "train_", "test_")


def pair(count: int) -> None:
    from stages.data import pair

    pair.main("mnistm-mfeat")


def generators(count: int) -> None:
    from stages.generation.acgan import Generator
    from stages.generation.stylegan2 import StyleGAN2

    settings = params.load(Path("params.yaml"))
    network = settings.stylegan2.network.model_dump(exclude={"minibatch_stddev"})
    form = settings.acgan.train.model_dump(include={"batch_norm_eps", "fit"})
    for name, module in (("stylegan2-0", StyleGAN2(32, **network)), ("acgan-0", Generator(form["batch_norm_eps"]))):
        weights = {f"average.{key}": tensor for key, tensor in module.state_dict().items()}
        weights["mean_style"] = torch.zeros(network["latent_dim"])
        save_weights(f"models/{name}/weights.safetensors", weights, form if name == "acgan-0" else None)


def sample_faces(count: int) -> None:
    from stages.generation import sample_stylegan2

    sample_stylegan2.main(0)


def sample_digits(count: int) -> None:
    from stages.generation import sample_acgan

    sample_acgan.main(0)


def digits(count: int) -> None:
    noise("samples/acgan-0.npz", count, 28, "")


def evaluate_digits(count: int) -> np.ndarray:
    from stages.evaluation.judge import Judge, predict

    return predict(Judge(), *load_arrays("samples/acgan-0.npz", "images"), torch.device("cpu"))


def judged(count: int) -> None:
    """What ACGAN's evaluation reads: generated, training and test digits, so many of each, the judge and its accuracy."""
    from stages.evaluation.judge import Judge

    digits(count)
    noise("data/prepared/mnistm.npz", count, 28, "train_", "test_")
    save_weights("models/judge/weights.safetensors", Judge().state_dict())
    write_json("results/judge/evaluation.json", {"test_accuracy": 0.9})


def evaluate_digits_whole(count: int) -> None:
    from stages.evaluation import evaluate_acgan

    evaluate_acgan.main(0)


def evaluate_classifier(count: int) -> np.ndarray:
    from stages.adaptation.evaluate import predictions
    from stages.adaptation.method import named

    return predictions(named("dann")(), *load_arrays("samples/acgan-0.npz", "images"))


class Flat(nn.Module):
    """Features (n, 1280) and logits (n, 1000) of images, as an extractor gives them."""

    def __init__(self, side: int) -> None:
        super().__init__()
        self.features, self.logits = nn.Linear(3 * side**2, 1280), nn.Linear(1280, 1000)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        features = self.features(images.flatten(1)).relu()
        return features, self.logits(features)


def faces(count: int) -> None:
    noise("faces.npz", count, 32, "train_", "test_", "fake_")


def evaluate_faces(count: int) -> dict[str, Any]:
    """What statistics.py and evaluate_stylegan2.py do."""
    from stages.evaluation import extractors, real
    from stages.evaluation.compare import compare

    here, settings, network = Path.cwd(), params.load(Path("params.yaml")).evaluation.metrics, Flat(32)
    train, test, fake = load_arrays("faces.npz", "train_images", "test_images", "fake_images")

    def look(kind: str, images: np.ndarray):
        return extractors.chunks(network, images, 50, kind)

    measured = real.measure("flat", look, train, test, fake, {"report": count, "clean": count}, settings, here)
    return compare(extractors.extract(network, fake, 50, "fake", here), measured, "clean", settings)


def faces_to_compare(count: int) -> None:
    noise("data/prepared/orl.npz", count, 32, "train_", "test_")
    noise("samples/stylegan2-0.npz", count, 32, "clean_")


def nearest_faces(count: int) -> None:
    from stages.evaluation import extractors, neighbours

    with patch.object(extractors, "load", lambda name: Flat(32)):
        neighbours.main(0, "flat")


# Images at first (of faces so many that memory has levelled off, of a data set so many that four times as many are MNIST), what
# is made ready, and the work whose memory is watched.
PARTS: dict[str, tuple[int, Callable[[int], None], Callable[[int], object]]] = {
    "import a folder": (2500, pictures, import_faces),
    "prepare a data set": (17_500, raw_digits, prepare_digits),
    "pair": (10_000, domains, pair),
    "sample faces": (4000, generators, sample_faces),
    "sample digits": (10_000, generators, sample_digits),
    "evaluate digits": (20_000, digits, evaluate_digits),
    "evaluate digits, whole": (20_000, judged, evaluate_digits_whole),
    "evaluate a classifier": (20_000, digits, evaluate_classifier),
    "evaluate faces": (6000, faces, evaluate_faces),
    "nearest faces": (6000, faces_to_compare, nearest_faces),
}

if __name__ == "__main__":
    main()
