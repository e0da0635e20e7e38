"""Write report/index.html: every figure and picture of the study in one file that needs no network and no script.

Reads metrics/summary.json, plots/, results/ and, where they are, the times in .timings/ and the git commit.
"""

import base64
from pathlib import Path
from typing import Any

import yaml
from jinja2 import Environment, StrictUndefined

from stages.report import comparison, reference
from stages.report.names import measure_name, method_name, pair_name
from stages.report.results import Results, Study
from stages.report.template import TEMPLATE
from stages.report.timings import provenance, read_timings
from stages.runtime import params
from stages.runtime.errors import UserError
from stages.runtime.files import read_json, replacing
from stages.runtime.stage import run

SECTIONS = ("data", "training", "stylegan2", "acgan", "judge", "adaptation", "embedding", "evaluation")
SCORES = ("is", "is_torchvision", "cs")


def main() -> None:
    data, _, stylegan2, acgan, judge, adaptation, _, evaluation = params.read(*SECTIONS)
    study = Study(
        *(stylegan2.dataset, stylegan2.sample.report, acgan.dataset, judge.dataset, data.datasets, data.folders),
        *(stylegan2.seeds, acgan.seeds, adaptation.pairs, adaptation.methods, adaptation.seeds, evaluation.extractors),
    )
    results, summary = Results(study), read_json("metrics/summary.json")
    content = {
        "summary": summary,
        "rows": comparison.rows(study, summary),
        "stand_ins": [name for name in study.data if study.origin(name) not in ("official", "own folder")],
        "pictures": read_pictures("plots"),
        "results": results,
        "study": study,
        "faces": results.faces,
        "sample": stylegan2.sample,
        "steps": {"stylegan2": stylegan2.train.steps, "acgan": acgan.train.steps, "judge": judge.steps},
        "parts": read_timings(study),
        "provenance": provenance(),
        "params": without_places(Path("params.yaml").read_text(encoding="utf-8")),
    }
    html = render(content)
    with replacing("report/index.html") as temporary:
        temporary.write_text(html, encoding="utf-8")


def render(content: dict[str, Any]) -> str:
    """The page; whatever `content` holds is shown as text, never taken for HTML."""
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    environment.filters |= {"percent": percent, "figure": figure, "duration": duration, "gigabytes": gigabytes}
    environment.filters |= {"method": method_name, "pair": pair_name, "measure": measure_name}
    environment.globals |= {"reference": reference, "head": comparison.HEAD, "measures": comparison.MEASURES}
    environment.globals |= {"headline": headline, "scores": SCORES}
    return environment.from_string(TEMPLATE).render(content)


def headline(figures: dict[str, Any]) -> str:
    """The measure that stands for an extractor; torchvision's Inception is there for its score."""
    return next(measure for measure in ("fid", "is_torchvision", "fd") if measure in figures)


def without_places(text: str) -> str:
    """params.yaml's text without the user's own folders and mirror, which say where things are on one machine."""
    data = dict((key.value, value) for key, value in yaml.compose(text).value)["data"]
    entries = {key.value: value for key, value in data.value}
    places = [*(value for _, value in entries["folders"].value), entries["mirror"]]
    for node in sorted(places, key=lambda node: node.start_mark.index, reverse=True):
        if node.tag != "tag:yaml.org,2002:null":
            text = f"{text[: node.start_mark.index]}(not shown){text[node.end_mark.index :]}"
    return text


def read_pictures(folder: str | Path) -> dict[str, str]:
    """The PNG files of a folder by name, as data URIs; UserError where there are none."""
    paths = sorted(Path(folder).glob("*.png"))
    if not paths:
        raise UserError(f"{folder} holds no pictures: run `dvc repro`, which draws them")
    return {path.stem: f"data:image/png;base64,{base64.b64encode(path.read_bytes()).decode()}" for path in paths}


def percent(value: float | dict[str, Any] | None) -> str:
    """A fraction, or a mean with its spread where there is one, as percent with one decimal."""
    if isinstance(value, dict):
        return percent(value["mean"]) + (f" ± {100 * value['std']:.1f}" if value["std"] else "")
    return "–" if value is None else f"{100 * value:.1f}"


def figure(value: float | dict[str, Any]) -> str:
    """A number, or a mean with its spread where there is one, short enough for a table."""
    if isinstance(value, dict):
        return figure(value["mean"]) + (f" ± {value['std']:.2g}" if value["std"] else "")
    return f"{value:.1f}" if abs(value) >= 100 else f"{value:.3g}" if abs(value) < 1 else f"{value:.2f}"


def duration(seconds: float) -> str:
    """Seconds, minutes or hours, as people say them."""
    if seconds < 60:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02} min"


def gigabytes(count: float) -> str:
    """Bytes as gigabytes with two decimals."""
    return f"{count / 1e9:.2f} GB"


if __name__ == "__main__":
    run(main)
