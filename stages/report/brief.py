"""The answers at the top of the page: did it work, how well, and compared with what, as a few bars each."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from stages.report.charts import CHANCE
from stages.report.comparison import DISTANCES, Row, Spread, adaptation_figures
from stages.report.names import measure_name, method_name, pair_name
from stages.report.results import BOUND, Study
from stages.report.verdicts import direction

BASE = "source_only"


@dataclass(frozen=True)
class Bar:
    """A value, its length as a fraction of the longest possible, its words, and whether it is what is asked about.

    `study` is the study's own value, as such a fraction, where it is comparable.
    """

    label: str
    share: float
    text: str
    asked: bool = False
    study: float | None = None


@dataclass(frozen=True)
class Answer:
    """One question's answer; `datasets` are those that it rests on, `part` is the section that says more."""

    part: str
    title: str
    datasets: tuple[str, ...]
    verdict: str
    bars: list[Bar]
    note: str


def answers(study: Study, summary: dict[str, Any], rows: list[Row]) -> Iterator[Answer]:
    """Faces, digits, and one for every pair; the comparison's `rows` hold the study's figure where it is comparable."""
    yield _faces(study, summary["stylegan2"]["clean"])
    digits = summary["acgan"]
    theirs = next(row.theirs for row in rows if row.ours is digits["judge_accuracy"])
    yield _digits(study, digits, summary["judge"]["test_accuracy"], theirs)
    compared = adaptation_figures(study)
    for pair, methods in summary["adaptation"].items():
        found = {method: figures["accuracy"] for method, figures in methods.items()}
        yield _pair(study, pair, found, {method: value for (of, method), value in compared.items() if of == pair})


def _faces(study: Study, by_extractor: dict[str, Any]) -> Answer:
    """The Fréchet distance between that of the untrained networks and the floor, FID's own if it was measured, and the recall."""
    found = ((measure, extractor) for measure in DISTANCES for extractor in study.extractors)
    measure, extractor = next(key for key in found if key[0] in by_extractor[key[1]])
    figures = by_extractor[extractor]
    untrained, ours, floor = (figures[f"{measure}{of}"] for of in ("_untrained", "", "_floor"))
    longest = max(value["mean"] for value in (untrained, ours, floor))
    way = (untrained["mean"] - ours["mean"]) / ((untrained["mean"] - floor["mean"]) or 1)
    named = (("untrained", untrained), ("generated", ours), ("real images", floor))
    bars = [Bar(name, value["mean"] / longest, _number(value), value is ours) for name, value in named]
    verdict = f"{100 * way:.0f} % of the way from untrained networks to real images"
    if way <= 0:
        verdict = "No nearer to real images than untrained networks"
    recall, ceiling = figures["recall"], figures["recall_ceiling"]
    bars += _recalls(recall, ceiling, "faces")
    verdict += f"; their recall is {100 * recall['mean']:.0f} %, of real faces {100 * ceiling['mean']:.0f} %"
    note = f"{measure_name(measure, extractor)}, clean protocol: shorter is better; recall: longer is, low where faces are alike"
    return Answer("stylegan2", "StyleGAN2: faces", (study.faces,), verdict, bars, note)


def _digits(study: Study, figures: dict[str, Any], real: dict[str, Any], theirs: float | None) -> Answer:
    """The judge's accuracy on generated digits between chance and real digits, and their recall, which like digits lack."""
    ours, recall, ceiling = figures["judge_accuracy"], figures["diversity"]["recall"], figures["diversity"]["recall_ceiling"]
    bars = [Bar("chance", CHANCE, f"{100 * CHANCE:.0f} %"), Bar("generated", ours["mean"], _percent(ours), True, theirs)]
    bars.append(Bar("real digits", real["mean"], _percent(real)))
    bars += _recalls(recall, ceiling, "digits")
    verdict = f"{100 * ours['mean']:.0f} % are read as the digit that was asked for; their recall is {100 * recall['mean']:.0f} %"
    verdict += f", of real digits {100 * ceiling['mean']:.0f} %"
    datasets = tuple(dict.fromkeys((study.digits, study.judged)))
    note = "accuracy of an independent judge, and recall within a class, low where digits are alike: longer is better"
    return Answer("acgan", "ACGAN: digits by class", datasets, verdict, bars, note)


def _pair(study: Study, pair: str, methods: dict[str, Spread], theirs: dict[str, float]) -> Answer:
    """Every method's accuracy, and what the adapting ones gain over the one that is trained on the source alone."""
    bars = []
    for method, value in methods.items():
        bars.append(Bar(method_name(method), value["mean"], _percent(value), method != BOUND, theirs.get(method)))
    base = methods.get(BASE)
    adapted = {name: value for name, value in methods.items() if name not in (BASE, BOUND)}
    gains = ", ".join(_gain(name, value, base) for name, value in adapted.items()) if base else ""
    verdict = (
        f"{gains} points over {method_name(BASE)}" if gains else f"no gain known: needs {method_name(BASE)} and another method"
    )
    sides = (study.pairs[pair].source, study.pairs[pair].target)
    note = "accuracy on target test: longer is better, chance is 10 %"
    note += "; ≈: not sure, as these seeds differ" if "≈" in verdict else ""
    return Answer(f"pair-{pair}", pair_name(pair), sides, verdict, bars, note)


def _gain(method: str, value: Spread, base: Spread) -> str:
    """The difference with its sign, marked as better, worse, or not sure where both have the two seeds that tell it."""
    mark = ("≈ ", "▲ ", "▼ ")[direction(base, value)] if min(value["n"], base["n"]) > 1 else ""
    return f"{mark}{method_name(method)} {100 * (value['mean'] - base['mean']):+.1f}".replace("-", "−")


def _recalls(ours: Spread, real: Spread, what: str) -> list[Bar]:
    words = (("recall, generated", ours), (f"recall, real {what}", real))
    return [Bar(name, value["mean"], _percent(value), value is ours) for name, value in words]


def _number(value: Spread) -> str:
    return f"{value['mean']:.1f}" + (f" ± {value['std']:.1f}" if value["std"] else "")


def _percent(value: Spread) -> str:
    spread = {name: 100 * value[name] if value[name] else value[name] for name in ("mean", "std")}
    return f"{_number(spread)} %"
