"""Write report/index.html: every figure and picture of the study in one file that needs no network and no script.

Reads metrics/summary.json, plots/, results/ and, where they are, the times in .timings/ and the git commit.
"""

import base64
from pathlib import Path
from typing import Any

from jinja2 import Environment, StrictUndefined

from stages.report import reference
from stages.report.names import method_name, pair_name
from stages.report.results import PROTOCOL, Results, Study, read_figures
from stages.report.template import TEMPLATE
from stages.report.timings import provenance, read_timings
from stages.runtime import params
from stages.runtime.files import replacing
from stages.runtime.stage import UserError, run

SECTIONS = ("data", "stylegan2", "acgan", "judge", "adaptation", "embedding", "evaluation")


def main() -> None:
    data, stylegan2, acgan, judge, adaptation, _, evaluation = params.read(*SECTIONS)
    lists = (stylegan2.seeds, acgan.seeds, adaptation.pairs, adaptation.methods, adaptation.seeds, evaluation.extractors)
    results = Results(Study(*lists))
    content = {
        "summary": read_figures("metrics/summary.json"),
        "pictures": read_pictures("plots"),
        "results": results,
        "study": results.study,
        "faces": {name: runs[0] for name, runs in results.faces.items()},
        "datasets": {"faces": stylegan2.dataset, "digits": acgan.dataset, "judge": judge.dataset},
        "steps": {"stylegan2": stylegan2.train.steps, "acgan": acgan.train.steps, "judge": judge.steps},
        "parts": read_timings(results.study, sorted(data.datasets.model_fields_set)),
        "provenance": provenance(),
        "params": Path("params.yaml").read_text(),
    }
    html = render(content)
    with replacing("report/index.html") as temporary:
        temporary.write_text(html, encoding="utf-8")


def render(content: dict[str, Any]) -> str:
    """The page; whatever `content` holds is shown as text, never taken for HTML."""
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    environment.filters |= {"percent": percent, "figure": figure, "duration": duration, "gigabytes": gigabytes}
    environment.filters |= {"method": method_name, "pair": pair_name}
    return environment.from_string(TEMPLATE).render(content, reference=reference, protocol=PROTOCOL)


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
