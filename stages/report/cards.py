"""Write the card of each trained model, report/cards/RUN.md: what it is, learnt from and is good for, and how to load it.

Reads each run's models/RUN/weights.safetensors and figures in results/RUN/; of params.yaml what it was trained with.

    python -m stages.report.cards
"""

import math
from collections import Counter
from collections.abc import Iterator
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple

import safetensors
import yaml

from stages.data.catalog import DATASETS
from stages.report.names import measure_name, method_name
from stages.runtime import params
from stages.runtime.errors import UserError
from stages.runtime.files import read_json, refused, replacing, sha256
from stages.runtime.schema import Datasets
from stages.runtime.stage import run as run_stage

FOLDER = Path("report/cards")
KEYS = (
    *("data.datasets", "training", "stylegan2.dataset", "stylegan2.network", "stylegan2.train", "stylegan2.sample.clean.psi"),
    *("stylegan2.seeds", "acgan.dataset", "acgan.train", "acgan.seeds", "judge", "adaptation", "evaluation.extractors"),
)
# Trained on labelled target images: of no use in practice, but the bound.
BOUND = "target_only"
# Of what a module saves beside its parameters.
BUFFERS = (
    "running_mean",
    "running_var",
    "num_batches_tracked",
    "path_length_mean",
    "mean_style",
    "ada.p",
    "ada.signs",
    "as_they_are",
)
DIGIT_LIMITS = (
    "For study and teaching. Every answer is one of the ten digits, also for an image that shows none. What it has not seen in "
    "training, such as other scripts, several digits or photographs of whole pages, it can't be expected to do well on."
)
CLASSIFIER = "the encoder that classifies, the class head on its codes, and what the method trains beside them"
MEAN_TEACHER = "`teacher`, the moving average that classifies; `student`, what training has last"


class Figures(dict[str, float]):
    """The numbers by name in a JSON file, or `inside` of it; one that is not there is a UserError."""

    def __init__(self, path: str, *inside: str) -> None:
        self.path, content = path, read_json(path)
        for name in inside:
            content = content.get(name) if isinstance(content, dict) else None
        found = content if isinstance(content, dict) else {}
        super().__init__({name: one for name, one in found.items() if isinstance(one, int | float) and math.isfinite(one)})

    def __missing__(self, name: str) -> float:
        raise UserError(f"{self.path} holds no number {name}: delete it and run `dvc repro`")


class Card(NamedTuple):
    """What a card says: in one sentence, as rows of a table, as code, by data set, as settings, as figures, and of its use."""

    what: str
    rows: dict[str, str]
    load: str
    datasets: dict[str, str]
    settings: dict[str, Any]
    figures: dict[str, str]
    limits: str


def main() -> None:
    values = dict(zip(KEYS, params.read(*KEYS), strict=True))
    for run, card in cards(values):
        with replacing(FOLDER / f"{run}.md") as temporary:
            temporary.write_text(text(run, card, values["data.datasets"], values["training"].model_dump()), encoding="utf-8")


def cards(values: dict[str, Any]) -> Iterator[tuple[str, Card]]:
    """The runs that the params name, each with its card; `values` are the params by KEYS."""
    network, extractor = values["stylegan2.network"], values["evaluation.extractors"][0]
    for run in (f"stylegan2-{seed}" for seed in values["stylegan2.seeds"]):
        train, psi = values["stylegan2.train"], values["stylegan2.sample.clean.psi"]
        yield run, faces(run, values["stylegan2.dataset"], network, train, psi, extractor)
    for run in (f"acgan-{seed}" for seed in values["acgan.seeds"]):
        yield run, digits(run, values["acgan.dataset"], values["acgan.train"])
    yield "judge", judge("judge", values["judge"])
    adaptation = values["adaptation"]
    for pair, method, seed in product(adaptation.pairs, [*adaptation.methods, BOUND], adaptation.seeds):
        run = f"{pair}-{method}-{seed}"
        yield run, classifier(run, pair, method, adaptation)


def faces(run: str, dataset: str, network: Any, settings: Any, psi: float, extractor: str) -> Card:
    """The card of a StyleGAN2 whose samples were truncated by psi."""
    how = "without truncation" if psi == 1 else f"truncated by psi {psi:g}"
    size, form = image_side(run), network.model_dump(exclude={"minibatch_stddev"})
    found = Figures(f"results/{run}/evaluation-{extractor}.json", "protocols", "clean")
    names = {name: measure_name(name, extractor) for name in ("fid", "fd", "is", "is_torchvision", "cs")}
    whose = " It has seen 40 people, and its faces are mixtures of theirs." if dataset == "orl" else ""
    return Card(
        what=f"A StyleGAN2 (Karras et al. 2020) with linear attention that makes faces of {size}x{size} pixels.",
        rows={
            "parts": "`average`, the moving average that makes the images; `faces`, what training has last; `discriminator`; "
            "`mean_style`, the moving mean of w, a centre for truncation",
            "input": f"latents z (n, {network.latent_dim}) from N(0, 1) and noise maps (n, {size}, {size}) from [0, 1)",
            "output": f"RGB images (n, 3, {size}, {size}) in [0, 1], to be clamped",
        },
        load=loading(
            "stages.generation.stylegan2",
            "StyleGAN2",
            run,
            arguments=", ".join([str(size), *(f"{name}={value!r}" for name, value in form.items())]),
            average=True,
            use=f"images = network(torch.randn(8, {network.latent_dim}), torch.rand(8, {size}, {size})).clamp(0, 1)",
        ),
        datasets={"faces": dataset},
        settings={"network": network.model_dump(), "train": settings.model_dump()},
        figures={
            f"{names.get(name, name)}, {found['n_fake']} samples {how}": f"{found[name]:.3f}"
            for name in (*names, "precision", "recall")
            if name in found
        },
        limits="For study and teaching. Generated faces resemble the people that the model has learnt from: not "
        f"for identification, and not to be shown as photographs of somebody.{whose}",
    )


def digits(run: str, dataset: str, settings: Any) -> Card:
    """The card of an ACGAN."""
    results = f"results/{run}/evaluation.json"
    found, diversity = Figures(results), Figures(results, "diversity")
    return Card(
        what="An ACGAN (Odena, Olah, Shlens 2017) that makes coloured digits of a class that it is told.",
        rows={
            "parts": "`average`, the moving average that makes the images; `generator`, what training has last; `discriminator`",
            "input": "latents (n, 100) from N(0, 1) and labels (n,), int64 from 0 to 9",
            "output": "RGB images (n, 3, 32, 32) in [-1, 1]; the pipeline brings them to 28x28",
        },
        load=loading(
            "stages.generation.acgan",
            "Generator",
            run,
            arguments=f"batch_norm_eps={settings.batch_norm_eps!r}",
            average=True,
            use="images = network(torch.randn(10, 100), torch.arange(10))",
        ),
        datasets={"digits": dataset},
        settings={"train": settings.model_dump()},
        figures={
            "images in which the judge sees the digit asked for": percent(found["judge_accuracy"]),
            "the judge's own accuracy on real test digits": percent(found["judge_test_accuracy"]),
            "recall, test digits among the generated ones of their class in the judge's features": percent(diversity["recall"]),
            "recall of as many training digits in their place": percent(diversity["recall_ceiling"]),
            "precision, generated digits among the test digits of their class": percent(diversity["precision"]),
        },
        limits="For study and teaching, or to add to training images of digits. Some images show another digit than was asked "
        "for, as the figure says, so their labels are not to be trusted one by one.",
    )


def judge(run: str, settings: Any) -> Card:
    """The card of the judge."""
    return Card(
        what="The judge: a LeNet that reads digits, trained on real ones alone, to score generated ones.",
        rows={
            "parts": "`layers`",
            "input": "RGB images (n, 3, 28, 28) in [-1, 1]",
            "output": "digit logits (n, 10)",
        },
        load=loading("stages.evaluation.judge", "Judge", run, use="logits = network(torch.zeros(1, 3, 28, 28))"),
        datasets={"digits": settings.dataset},
        settings=settings.model_dump(),
        figures={"accuracy on real test digits": percent(Figures(f"results/{run}/evaluation.json")["test_accuracy"])},
        limits=DIGIT_LIMITS,
    )


def classifier(run: str, name: str, method: str, adaptation: Any) -> Card:
    """The card of a classifier that was trained by a method on the pair of this name."""
    pair, bound = adaptation.pairs[name], method == BOUND
    found = Figures(f"results/{run}/evaluation.json")
    sides = {"target, with labels": pair.target} if bound else {"source, with labels": pair.source}
    if method not in ("source_only", BOUND):
        sides["target, without labels"] = pair.target
    augmented = {} if bound else {"source_augment": pair.source_augment}
    figures = {
        f"accuracy on the test images of {pair.target}": percent(found["accuracy"]),
        f"accuracy on images of {pair.source} that were held out": percent(found["source_validation_accuracy"]),
    }
    if "proxy_a_distance" in found:
        label = "proxy A-distance of the domains' codes, from 0, alike, to 2, always told apart"
        figures[label] = f"{found['proxy_a_distance']:.2f}"
    return Card(
        what=f"A classifier of digits for {pair.target} by the method {method_name(method)}, on the pair {name}.",
        rows={
            "parts": MEAN_TEACHER if method == "mean_teacher" else CLASSIFIER,
            "input": "RGB images (n, 3, 28, 28) in [-1, 1]",
            "output": "digit logits (n, 10)",
        },
        load=loading(
            f"stages.adaptation.methods.{method}", "Method", run, use="logits = network.predict(torch.zeros(1, 3, 28, 28))"
        ),
        datasets=sides,
        settings={"common": adaptation.common.model_dump(), method: getattr(adaptation, method).model_dump(), **augmented},
        figures=figures,
        limits=DIGIT_LIMITS,
    )


def text(run: str, card: Card, chosen: Datasets, training: dict[str, Any]) -> str:
    """The card as Markdown."""
    counts = ", ".join(f"{part} {count:,}" for part, count in parameters(run).items())
    path = weights_of(run)
    rows = {"file": f"{path.as_posix()}, SHA-256 {sha256(path)}", "parameters": counts, **card.rows}
    table = "\n".join(f"| {name} | {value} |" for name, value in rows.items())
    data = "\n\n".join(f"**{side}**: {described(name, chosen)}" for side, name in card.datasets.items())
    settings = yaml.safe_dump(card.settings | {"training": training}, sort_keys=False, default_flow_style=None)
    figures = "\n".join(f"- {name}: {value}" for name, value in card.figures.items())
    seed = "" if run == "judge" else f"\nSeed {run.rpartition('-')[2]}."
    return f"""# {run}

{card.what}

| | |
|---|---|
{table}

## Load it

From the folder of the project, or with it on `PYTHONPATH`:

```python
{card.load}
```

## Learnt from

{data}

## Settings
{seed}

```yaml
{settings}```

## Figures

{figures}

Those of all runs are in metrics/summary.json.

## Use and limits

{card.limits}
"""


def loading(module: str, name: str, run: str, *, arguments: str = "", average: bool = False, use: str) -> str:
    """Lines of Python that load the weights, or of several networks the moving average, and use the network."""
    kept = '{name[8:]: tensor for name, tensor in weights.items() if name.startswith("average.")}' if average else "weights"
    return f"""import torch
from safetensors.torch import load_file
from {module} import {name}

weights = load_file("{weights_of(run).as_posix()}")
network = {name}({arguments}).eval()
network.load_state_dict({kept})
{use}"""


def described(name: str, chosen: Datasets) -> str:
    """A data set in the catalogue's words; of a user's own folder no more than that it is one."""
    if name not in chosen.model_fields_set:
        return f"{name}, images of the user's own; under which licence is for their owner to say."
    entry, edition = DATASETS[name], getattr(chosen, name).source.replace("_", " ")
    words = {"from": entry.publisher, "licence": entry.licence, "cite": entry.citation}
    return "\n- ".join([f"{name} ({edition}), {entry.title}.\n", *(f"{word}: {said}" for word, said in words.items())])


def parameters(run: str) -> dict[str, int]:
    """Numbers of parameters by part of the model, running statistics left out."""
    counts: Counter[str] = Counter()
    for name, shape in shapes(weights_of(run)).items():
        if not name.endswith(BUFFERS):
            counts[name.removeprefix("network.").partition(".")[0]] += math.prod(shape)
    return dict(sorted(counts.items()))


def image_side(run: str) -> int:
    """Side of the images that a saved StyleGAN2 makes: 4 in its first block, doubled in each further one."""
    prefix = "average.generator.blocks."
    blocks = {name.removeprefix(prefix).split(".")[0] for name in shapes(weights_of(run)) if name.startswith(prefix)}
    return 2 ** (len(blocks) + 1)


def weights_of(run: str) -> Path:
    return Path("models") / run / "weights.safetensors"


def shapes(path: Path) -> dict[str, tuple[int, ...]]:
    """The shapes of a weights file's tensors by name, without reading them; UserError where it is missing or damaged."""
    try:
        # safetensors' own errors don't tell what the system refused.
        with path.open("rb"), safetensors.safe_open(path, framework="numpy") as file:
            return {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118
    except (OSError, safetensors.SafetensorError) as error:
        damaged = UserError(f"{path} is no readable safetensors file ({error}): delete it and run `dvc repro`")
        raise refused(path, error) or damaged from None


def percent(share: float) -> str:
    return f"{100 * share:.2f} %"


if __name__ == "__main__":
    run_stage(main)
