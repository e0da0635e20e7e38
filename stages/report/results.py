"""What the runs left in results/: only those runs are read that the params' lists of pairs, methods and seeds name."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from stages.runtime.errors import UserError
from stages.runtime.files import read_json
from stages.runtime.schema import Datasets, Pair, Sampling

BOUND = "target_only"
# How faces are sampled and compared: as in the study, and without its truncation and JPEG.
PROTOCOLS = ("report", "clean")


@dataclass(frozen=True)
class Study:
    """The runs that the params name, in the params' order, and the data they are on. It adds the bound to the methods."""

    faces: str
    report: Sampling
    digits: str
    judged: str
    datasets: Datasets
    folders: dict[str, str]
    stylegan2_seeds: list[int]
    acgan_seeds: list[int]
    pairs: dict[str, Pair]
    methods: list[str]
    seeds: list[int]
    extractors: list[str]

    KEYS = (
        "stylegan2.dataset",
        "stylegan2.sample.report",
        "acgan.dataset",
        "judge.dataset",
        "data.datasets",
        "data.folders",
        "stylegan2.seeds",
        "acgan.seeds",
        "adaptation.pairs",
        "adaptation.methods",
        "adaptation.seeds",
        "evaluation.extractors",
    )

    @property
    def all_methods(self) -> list[str]:
        """The methods and, last, the bound that is trained on labelled target images."""
        return [*self.methods, BOUND]

    @property
    def data(self) -> list[str]:
        """The names of all data sets, the user's own last."""
        return [*sorted(self.datasets.model_fields_set), *self.folders]

    def stands_in(self, dataset: str) -> bool:
        """Whether a data set, or part of it, comes out of packages in place of its publisher's."""
        return self.origin(dataset) not in ("official", "own folder")

    def origin(self, dataset: str) -> str:
        """Where a data set comes from, in words; of a user's own folder no more than that it is one."""
        return "own folder" if dataset in self.folders else getattr(self.datasets, dataset).source.replace("_", " ")


class Results:
    """The study's evaluations, histories and embeddings; UserError names what is missing or damaged."""

    def __init__(self, study: Study, folder: str | Path = "results") -> None:
        self.study, self.folder = study, Path(folder)

    @cached_property
    def faces(self) -> dict[str, dict[str, list[dict[str, Any]]]]:
        """By protocol and extractor, the figures of each StyleGAN2 seed."""
        found = {extractor: self._comparisons(extractor) for extractor in self.study.extractors}
        return {name: {extractor: [run[name] for run in runs] for extractor, runs in found.items()} for name in PROTOCOLS}

    @cached_property
    def digits(self) -> list[dict[str, Any]]:
        """The judge's verdict on each ACGAN seed."""
        return [self._evaluation(f"acgan-{seed}") for seed in self.study.acgan_seeds]

    @cached_property
    def judge(self) -> dict[str, Any]:
        """The judge's own accuracy on real test digits."""
        return self._evaluation("judge")

    @cached_property
    def adaptation(self) -> dict[str, dict[str, list[dict[str, Any]]]]:
        """By pair and method, the verdict on each seed."""
        return {pair: {method: self._runs(pair, method) for method in self.study.all_methods} for pair in self.study.pairs}

    @cached_property
    def neighbours(self) -> list[dict[str, Any]]:
        """For each StyleGAN2 seed, `train` indices and `distance` of the training faces nearest to its first samples, whether
        each is nearer `mirrored`, and `novelty` and `near_share`, of features and of thumbnails.

        Empty where nobody looked for them.
        """
        paths = [self.folder / f"stylegan2-{seed}" / "neighbours.json" for seed in self.study.stylegan2_seeds]
        return [read_json(path) for path in paths] if paths[0].is_file() else []

    @cached_property
    def networks(self) -> list[dict[str, Any]]:
        """Name, number of parameters and printed form of every network, as far as they were written down."""
        return [network for path in sorted((self.folder / "networks").glob("*.json")) for network in read_json(path)]

    def history(self, run: str) -> pd.DataFrame:
        """A training's recorded values by step; values that a step did not have are NaN."""
        return self._table(self.folder / run / "history.csv", "step")

    def embedding(self, pair: str, method: str) -> pd.DataFrame:
        """t-SNE coordinates x, y of test images with their label, prediction and domain."""
        return self._table(self.folder / f"{pair}-{method}" / "embedding.csv", "label", "domain", "x", "y")

    def _runs(self, pair: str, method: str) -> list[dict[str, Any]]:
        return [self._evaluation(f"{pair}-{method}-{seed}") for seed in self.study.seeds]

    def _comparisons(self, extractor: str) -> list[dict[str, Any]]:
        """An extractor's figures by protocol, for each StyleGAN2 seed."""
        folders = [self.folder / f"stylegan2-{seed}" for seed in self.study.stylegan2_seeds]
        return [read_json(folder / f"evaluation-{extractor}.json")["protocols"] for folder in folders]

    def _evaluation(self, run: str) -> dict[str, Any]:
        return read_json(self.folder / run / "evaluation.json")

    def _table(self, path: Path, *columns: str) -> pd.DataFrame:
        try:
            table = pd.read_csv(path)
        except FileNotFoundError:
            raise UserError(f"{path} is missing: run `dvc repro`, which makes it") from None
        except (ValueError, UnicodeDecodeError) as error:
            raise UserError(f"{path} is damaged ({error}): delete it and run `dvc repro`") from None
        missing = set(columns) - set(table.columns)
        if missing:
            raise UserError(f"{path} has no column {', '.join(sorted(missing))}: delete it and run `dvc repro`")
        return table


def nearest_faces(found: dict[str, Any], train: np.ndarray) -> np.ndarray:
    """Of one seed's `neighbours`, the training images nearest to each sample, nearest first, each the way round in which it is
    nearer: (samples, nearest, height, width, channels) out of `train`, (n, height, width, channels)."""
    images = train[np.array(found["train"])]
    return np.where(np.array(found["mirrored"])[..., None, None, None], images[..., ::-1, :], images)


def started(history: pd.DataFrame) -> pd.DataFrame:
    """A history without the values of before a loss started: those of exactly 0, and the first one after them.

    A record is the mean over the steps since the one before: the first that is not 0 still counts the zeros before the start.
    """
    known = history.where(history > 0)
    first = known.notna().cumsum() == 1
    return known.mask(first & (history.iloc[0] == 0))
