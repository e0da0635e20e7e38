"""A small study's outputs: three methods and the bound, two seeds, as the other stages leave them.

`study` is on packaged data with one pair, `paper_study` has the data, pairs and extractors of the paper preset, SVHN out of a
user's own folder.
"""

import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml

from stages.report import style, summarize, verdicts
from stages.runtime.files import read_json, write_json
from stages.runtime.images import save_arrays

ROOT = Path(__file__).resolve().parents[2]
PAIR = "syn-mnistm"
ACCURACIES = {"source_only": (0.5, 0.54), "dann": (0.58, 0.6), "dsn": (0.61, 0.62), "target_only": (0.95, 0.97)}
OWN_FOLDER = "/home/someone/course/svhn"
EXTRACTORS = {"efficientnet_lite0": ("fd", "cs"), "inception": ("fid", "is"), "inception_torchvision": ("fd", "is_torchvision")}


def figures(extractor: str, protocol: str, seed: int) -> dict:
    """An extractor's figures in one protocol; the report protocol's distance is 50 more, a further seed's 20 more."""
    fd, cs = EXTRACTORS[extractor]
    more = 20 * seed + (50 if protocol == "report" else 0)
    found = {fd: 200.0 + more, f"{fd}_floor": 60.0, f"{fd}_train": 190.0, "kid": 0.5, "kid_std": 0.02, "kid_floor": -0.001}
    found |= {
        "precision": 0.4,
        "precision_ceiling": 0.7,
        "recall": 0.1,
        "recall_ceiling": 0.8,
        cs: 2.5,
        f"{cs}_std": 0.1,
        f"{cs}_real": 4.0,
    }
    found |= {"n_real": 80, "n_fake": 1000 if protocol == "report" else 40, "n_floor": 40, "resize": "bilinear 224"}
    return found if protocol == "report" else found | {f"{fd}_untrained": 1100.0, f"{fd}_pca": 400.0}


def verdict(accuracy: float) -> dict:
    """A judgement of ten images a class, with an unknown class to show that it is borne."""
    confusion = (np.eye(10, dtype=int) * 9 + np.roll(np.eye(10, dtype=int), 1, axis=1)).tolist()
    return {"accuracy": accuracy, "per_class": [accuracy] * 9 + [None], "confusion": confusion, "n": 100}


def history(run: str, *columns: str) -> None:
    """Ten rows of a falling value; the last column misses in every other row, as penalties do."""
    table = pd.DataFrame({"step": range(1, 11), **{name: np.linspace(1, 0.1, 10) for name in columns}})
    table.loc[::2, columns[-1]] = np.nan
    Path("results", run).mkdir(parents=True, exist_ok=True)
    table.to_csv(f"results/{run}/history.csv", index=False)


def images(count: int, side: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (count, side, side, 3), dtype=np.uint8)


def write_generation(seed: int, extractors: list[str]) -> None:
    steps = np.array([5, 10])
    drawn = {f"{name}_images": images(40, 8) for name in ("report", "clean", "untrained")}
    save_arrays(f"samples/stylegan2-{seed}.npz", **drawn)
    save_arrays(f"results/stylegan2-{seed}/snapshots.npz", steps=steps, images=np.stack([images(32, 8)] * 2))
    history(f"stylegan2-{seed}", "loss_d", "loss_g", "d_real", "d_fake", "penalty", "path_length")
    for extractor in extractors:
        protocols = {name: figures(extractor, name, seed) for name in ("report", "clean")}
        write_json(f"results/stylegan2-{seed}/evaluation-{extractor}.json", {"protocols": protocols})
    save_arrays(f"samples/acgan-{seed}.npz", images=images(100, 28), labels=np.repeat(np.arange(10), 10))
    save_arrays(f"results/acgan-{seed}/snapshots.npz", steps=steps, images=np.stack([images(100, 28)] * 2))
    history(f"acgan-{seed}", "loss_discriminator", "loss_generator", "accuracy_real", "accuracy_fake")
    judged, diversity = verdict(0.85 + seed / 50), {"recall": 0.5 + seed / 50, "recall_ceiling": 0.9}
    diversity |= {"precision": 0.75, "precision_ceiling": 0.8, "fd": 120.0, "fd_floor": 8.0}
    judged |= {"diversity": {**diversity, "per_class": {name: [value] * 9 + [None] for name, value in diversity.items()}}}
    write_json(
        f"results/acgan-{seed}/evaluation.json", {"judge_accuracy": judged["accuracy"], **judged, "judge_test_accuracy": 0.97}
    )


def write_adaptation(pair: str, method: str, seed: int) -> None:
    run = f"{pair}-{method}-{seed}"
    curve = [{"step": step, "accuracy": ACCURACIES[method][seed] * step / 10} for step in (5, 10)]
    judged = {**verdict(ACCURACIES[method][seed]), "source_validation_accuracy": 0.96, "curve": curve}
    judged |= {"proxy_a_distance": 1.5 + seed / 4, "selection": {"last": {"step": 10, "regret": 0.01 * seed}}}
    write_json(f"results/{run}/evaluation.json", judged)
    history(run, "class_loss", "lambda", "domain_loss") if method == "dann" else history(run, "class_loss", "class_accuracy")


def write_regret(method: str, seed: int, rule: str, regret: float) -> None:
    """What a further rule's choice costs a run."""
    path = f"results/{PAIR}-{method}-{seed}/evaluation.json"
    judged = read_json(path)
    judged["selection"][rule] = {"step": 5, "regret": regret}
    write_json(path, judged)


def write_embedding(pair: str, method: str) -> None:
    generator = np.random.default_rng([1, *method.encode()])
    labels = np.repeat(np.tile(np.arange(10), 2), 2)
    table = pd.DataFrame({"index": range(40), "label": labels, "prediction": labels, "domain": ["source", "target"] * 20})
    table[["x", "y"]] = generator.normal(size=(40, 2)).round(4)
    Path(f"results/{pair}-{method}").mkdir(parents=True)
    table.to_csv(f"results/{pair}-{method}/embedding.csv", index=False)


def write_extras() -> None:
    """What the page shows where it is there: the images behind the points, interpolations, neighbours, networks and so on."""
    save_arrays(f"data/pairs/{PAIR}/test.npz", test_images=images(40, 28), source_test_images=images(40, 28))
    path = Path("results") / f"{PAIR}-dsn" / "embedding.csv"
    table = pd.read_csv(path)
    table.loc[[1, 3, 5, 7], "prediction"] = (table["label"] + 1) % 10
    table.to_csv(path, index=False)
    kinds = np.stack([images(6, 28)] * 4)
    save_arrays(f"results/{PAIR}-dsn/reconstructions.npz", source_images=kinds, target_images=kinds)
    with np.load("samples/stylegan2-0.npz") as file:
        arrays = dict(file)
    save_arrays("samples/stylegan2-0.npz", **arrays, interpolation_images=np.stack([images(6, 8)] * 3))
    write_neighbours()
    with np.load("data/prepared/orl.npz") as file:
        arrays = dict(file)
    save_arrays("data/prepared/orl.npz", **arrays, train_images=images(20, 8))
    write_json("results/networks/generation.json", [{"name": "generator", "parameters": 12345, "printed": "Linear(1, 2)"}])
    write_json(".timings/report.summarize.json", {"stage": "report.summarize", "seconds": 1.5, "peak_bytes": 10**8})
    verdicts.write(ablation())


def ablation(**changed) -> list[verdicts.Reading]:
    """A claim's two settings, as `make ablation` writes them; both lines have the changes."""
    words = {"name": "mixing", "claim": "Mixing styles helps", "better": "lower", "verdict": "confirmed", "commit": "abcdef1"}
    words["figure"] = "stylegan2.clean.efficientnet_lite0.fd"
    found = []
    for setting, chance, mean in (("without", 0.0, 93.5), ("with", 0.5, 81.25)):
        words |= {"setting": setting, "overrides": f"stylegan2.train.style_mixing={chance}", "mean": mean, "std": 1.5, "n": 3}
        found.append(verdicts.Reading(**words | {"experiment": f"mixing-{setting}-01234567"} | changed))
    return found


def write_neighbours() -> None:
    nearest = {
        "protocol": "clean",
        "train": [[0, 1, 2]] * 8,
        "mirrored": [[False, True, False]] * 8,
        "distance": [[1.5, 2.25, 3.0]] * 8,
    }
    for seed, novelty in ((0, 0.75), (1, 0.85)):
        found = nearest | {"novelty": novelty, "near_share": novelty / 10}
        found |= {"thumbnail_novelty": 2 * novelty, "thumbnail_near_share": novelty / 100}
        write_json(f"results/stylegan2-{seed}/neighbours.json", found)


def packaged() -> dict:
    """The laptop preset with one pair."""
    content = yaml.safe_load((ROOT / "presets/laptop.yaml").read_text())
    content["adaptation"]["pairs"] = {PAIR: content["adaptation"]["pairs"][PAIR]}
    return content


def official() -> dict:
    """The paper preset, with SVHN out of a user's own folder."""
    content = yaml.safe_load((ROOT / "presets/paper.yaml").read_text())
    del content["data"]["datasets"]["svhn"]
    content["data"]["folders"] = {"svhn": OWN_FOLDER}
    return content


def write_study(content: dict) -> None:
    """Everything that summarize reads, in the current folder."""
    for section in ("stylegan2", "acgan", "adaptation"):
        content[section]["seeds"] = [0, 1]
    content["adaptation"]["methods"] = ["source_only", "dann", "dsn"]
    Path("params.yaml").write_text(yaml.safe_dump(content, sort_keys=False))
    save_arrays(f"data/prepared/{content['stylegan2']['dataset']}.npz", test_images=images(40, 8))
    judged = verdict(0.97)
    write_json("results/judge/evaluation.json", {"test_accuracy": judged["accuracy"], **judged})
    history("judge", "loss", "accuracy")
    for seed in (0, 1):
        write_generation(seed, content["evaluation"]["extractors"])
    for pair in content["adaptation"]["pairs"]:
        for method in ACCURACIES:
            for seed in (0, 1):
                write_adaptation(pair, method, seed)
        for method in ("source_only", "dann", "dsn"):
            write_embedding(pair, method)


def summarise_with_a_blank_picture() -> None:
    """Run summarize, whose pictures take most of its time, with a single empty one."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(summarize, "draw", lambda *_: iter([("faces", style.canvas()[0])]))
        summarize.main()


@pytest.fixture(scope="session")
def summarised(tmp_path_factory) -> Path:
    """The folder of a small study after summarize has run, made once."""
    folder = tmp_path_factory.mktemp("study")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        write_study(packaged())
        summarize.main()
    return folder


@pytest.fixture
def study(summarised, tmp_path, monkeypatch) -> Path:
    """A copy of that folder for one test to change; it is the current folder."""
    folder = Path(shutil.copytree(summarised, tmp_path / "study"))
    monkeypatch.chdir(folder)
    monkeypatch.setenv("TIMINGS_DIR", ".timings")
    return folder


@pytest.fixture
def paper_study(tmp_path, monkeypatch) -> Path:
    """The paper preset's study after summarize has run, its pictures left blank; it is the current folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TIMINGS_DIR", ".timings")
    write_study(official())
    summarise_with_a_blank_picture()
    return tmp_path
