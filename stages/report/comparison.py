"""Every figure of the study beside ours, with the difference: the rows, and the Markdown table of them; below it, our own."""

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from stages.report import reference, verdicts
from stages.report.names import NEAR_SHARE, NOVELTY, SHARES, measure_name, method_name, pair_name
from stages.report.results import PROTOCOLS, Study
from stages.runtime.schema import Pair

# The study's figures of faces, by protocol, extractor and measure. No other measure of ours is the same quantity.
FACES = {
    ("report", "inception", "fid"): reference.FID,
    ("report", "inception_torchvision", "is_torchvision"): reference.INCEPTION_SCORE,
}
# Measure, and what real images get in the samples' place.
MEASURES = {"fid": "fid_floor", "fd": "fd_floor", "is": "is_real", "is_torchvision": "is_torchvision_real", "cs": "cs_real"}
MEASURES |= {"precision": "precision_ceiling", "recall": "recall_ceiling"}
MEASURES |= dict.fromkeys(NOVELTY, "novelty_real") | dict.fromkeys(NEAR_SHARE, "near_share_real")
# What test images get by definition.
ALWAYS = {"novelty_real": {"mean": 1.0, "std": None, "n": 1}, "near_share_real": {"mean": 0.05, "std": None, "n": 1}}
DISTANCES = ("fid", "fd")
LOWER = (*DISTANCES, *NEAR_SHARE)
# The same of digits, class by class.
DIVERSITY = {"recall": "recall_ceiling", "precision": "precision_ceiling", "fd": "fd_floor"}
Spread = dict[str, Any]


@dataclass(frozen=True)
class Row:
    """One figure: `ours` and `real` (what real images get) are spreads over the seeds, accuracies are fractions."""

    name: str
    data: str
    theirs: float | None
    ours: Spread | None
    real: Spread | None = None
    percent: bool = False
    # Whether less is better, as of a Fréchet distance.
    lower: bool = False

    @property
    def verdict(self) -> str:
        """Ours against the study's: better, worse or equal, as far as the printed digits tell; empty where one is missing."""
        if self.theirs is None or self.ours is None:
            return ""
        difference = float(_number(self.ours["mean"] - self.theirs, self.percent))
        return "equal" if not difference else "better" if (difference < 0) == self.lower else "worse"

    @property
    def cells(self) -> tuple[str, ...]:
        """The row in words: figure, data, the study's, ours, difference, real images; a dash for what there is not."""
        both = self.theirs is not None and self.ours is not None
        difference = _number(self.ours["mean"] - self.theirs, self.percent, "+") if both else "–"
        theirs = "–" if self.theirs is None else _number(self.theirs, self.percent)
        ours, real = _spread(self.ours, self.percent, count=True), _spread(self.real, self.percent)
        return self.name, self.data, theirs, ours, difference, real


HEAD = ("figure", "data", "study", "ours", "difference", "real images")


def rows(study: Study, summary: dict[str, Any]) -> list[Row]:
    """All figures of the study and of the summary; where only one of them has a figure, the other's is None."""
    return [*_faces(study, summary["stylegan2"]), *_digits(study, summary), *_adaptation(study, summary["adaptation"])]


def markdown(found: list[Row]) -> str:
    """The rows as a page of Markdown that stands by itself."""
    return f"# The study's figures and ours\n\n{_table(HEAD, [row.cells for row in found], words=2)}\n\n{NOTES}"


NOTES = """\
Accuracies, precision, recall and near share in percent; ours as mean ± standard deviation over n seeds. *Real images* is what
they get in the samples' place: for a Fréchet distance the floor, and for precision and recall the ceiling, training against test
images; for a score that of the test images; for the judge its accuracy on real test digits. Within a class, generated digits are
compared with real ones of their class, and the figure is the mean over the classes. The report protocol is the study's: samples
truncated and saved as JPEG; the clean one saves without loss.
Novelty is how far samples are from their nearest training image, compared with test images: 0 is a copy, 1 as new as those. The
near share is that of the samples that lie nearer to a training image than 95 % of the test images do. Both are measured in a
network's features, and as thumbnails of 8x8 cells, in which a copy that is a little blurred or noisy is still near.

The study's figure stands beside ours where data set (official, or your own of that name, whole), network, measure and protocol
(images, psi) are the same. Packaged data sets are stand-ins, mnistm too, as is official MNIST-M over packaged photographs:
figures on them can't be compared with the study's. Nor can `fd` and `cs`, which are measured on other networks than FID and
Inception Score.
"""


def beside_accuracy(adaptation: dict[str, Any]) -> str:
    """What no accuracy tells of adaptation, as Markdown to go below the other table: the domains' distance, and rules' regret.

    `adaptation` is the summary's; methods without either are left out, and all of it where none has any.
    """
    rules = regretted(adaptation)
    lines = []
    for pair, methods in adaptation.items():
        for method, figures in methods.items():
            regret = figures.get("regret", {})
            values = [(figures.get("proxy_a_distance"), False), *((regret.get(rule), True) for rule in rules)]
            if any(value for value, _ in values):
                cells = (_spread(value, percent, count=True) for value, percent in values)
                lines.append((pair_name(pair), method_name(method), *cells))
    if not lines:
        return ""
    head = ("pair", "method", "proxy A-distance", *(f"regret of {rule.replace('_', ' ')}" for rule in rules))
    return f"\n# Adaptation, beside the accuracy\n\n{_table(head, lines, words=2)}\n\n{ADAPTATION_NOTES}"


def regretted(adaptation: dict[str, Any]) -> list[str]:
    """The rules for choosing a snapshot whose regret is known of any pair and method."""
    found = (figures.get("regret", {}) for methods in adaptation.values() for figures in methods.values())
    return list(dict.fromkeys(rule for regret in found for rule in regret))


ADAPTATION_NOTES = """\
Mean ± standard deviation over n seeds. The proxy A-distance is 0 where a linear classifier can't tell the domains apart by their
codes, 2 where it always can. Regret, in percentage points, is how far the accuracy of the best snapshot lies above that of the
one that the rule takes; labels of the target test are used only to report it.
"""


def ablation(claims: Iterable[Sequence[verdicts.Reading]]) -> str:
    """The claims with verdicts and figures as Markdown to go below the other table; nothing where there are none."""
    lines = []
    for claim in claims:
        lines.append((claim[0].name, claim[0].claim, claim[0].verdict, f"{claim[0].measure}: {_of_settings(claim)}"))
    if not lines:
        return ""
    return f"\n# Ablation\n\n{_table(('name', 'claim', 'verdict', 'figures'), lines, words=4)}\n\n{ABLATION_NOTES}"


def _of_settings(claim: Sequence[verdicts.Reading]) -> str:
    """The figure of each setting; the number of seeds once, where it is the same."""
    *others, last = claim
    alike = all(reading.n == last.n for reading in others)
    figures = [f"{reading.setting} {reading.spread if alike else reading.value}" for reading in others]
    return ", ".join([*figures, f"{last.setting} {last.value}"])


ABLATION_NOTES = """\
Settings stand from the one that should do worst to the one that should do best, mean ± standard deviation over n seeds. A claim
is confirmed where each figure is better than the one before by more than chance would have it (Welch's t-test, 95 %), refuted
where one is worse by as much, else open. `make ablation` ran them, and in another clone runs them anew;
metrics/ablation.csv has params and commits.
"""


def _number(value: float, percent: bool, sign: str = "") -> str:
    return f"{100 * value if percent else value:{sign}.2f}"


def _spread(value: Spread | None, percent: bool, *, count: bool = False) -> str:
    if value is None:
        return "–"
    spread = f" ± {_number(value['std'], percent)}" if value["std"] else ""
    return _number(value["mean"], percent) + spread + (f" (n = {value['n']})" if count else "")


def _table(head: Sequence[str], lines: Iterable[Sequence[str]], words: int) -> str:
    """A table of words in Markdown, its columns after the first `words` flush right."""
    marks = ["---"] * words + ["---:"] * (len(head) - words)
    escaped = [list(map(escape, line)) for line in (head, *lines)]
    return "\n".join(f"| {' | '.join(line)} |" for line in (escaped[0], marks, *escaped[1:]))


def escape(text: str) -> str:
    """Words that Markdown shows as they are: nothing in them opens a cell, a link, a tag or an emphasis."""
    return re.sub(r"([\\`*_{}\[\]<>|#!&~])", r"\\\1", " ".join(text.split()))


def _faces(study: Study, summary: dict[str, Any]) -> Iterator[Row]:
    """The study's figures first, then ours that it lacks."""
    same = study.faces == reference.FACES and _cut_and_sampled_alike(study)
    data = f"{study.faces} ({study.origin(study.faces)})"
    for key, theirs in FACES.items():
        found = key[1] in summary[key[0]]
        if same and found:
            yield _of_faces(summary, *key, data, theirs)
        else:
            yield Row(_face_name(*key), reference.FACES, theirs, None, lower=key[2] in DISTANCES)
    for protocol in PROTOCOLS:
        for extractor, figures in summary[protocol].items():
            for measure in MEASURES:
                if measure in figures and not (same and (protocol, extractor, measure) in FACES):
                    yield _of_faces(summary, protocol, extractor, measure, data, None)


def _of_faces(summary: dict[str, Any], protocol: str, extractor: str, measure: str, data: str, theirs: float | None) -> Row:
    figures = ALWAYS | summary[protocol][extractor]
    name, real = _face_name(protocol, extractor, measure), figures[MEASURES[measure]]
    return Row(name, data, theirs, figures[measure], real, percent=measure in SHARES, lower=measure in LOWER)


def _face_name(protocol: str, extractor: str, measure: str) -> str:
    return f"StyleGAN2, {measure_name(measure, extractor)}, {protocol} protocol"


def _digits(study: Study, summary: dict[str, Any]) -> Iterator[Row]:
    name = "ACGAN, accuracy under the judge"
    data = f"{study.digits} ({study.origin(study.digits)})"
    same = study.digits == study.judged == reference.DIGITS and _comparable(study, study.digits)
    if not same:
        yield Row(name, reference.DIGITS, reference.ACGAN_ACCURACY, None, percent=True)
    theirs = reference.ACGAN_ACCURACY if same else None
    yield Row(name, data, theirs, summary["acgan"]["judge_accuracy"], summary["judge"]["test_accuracy"], percent=True)
    figures = summary["acgan"]["diversity"]
    for measure, best in DIVERSITY.items():
        name, lower = f"ACGAN, {measure_name(measure, 'judge')}, within a class", measure in DISTANCES
        yield Row(name, data, None, figures[measure], figures[best], percent=not lower, lower=lower)


def adaptation_figures(study: Study) -> dict[tuple[str, str], float]:
    """The study's accuracy by pair and method, where ours can be compared with it."""
    found = {}
    for name, pair in study.pairs.items():
        for method in reference.METHODS if _same(study, pair) else ():
            theirs = reference.adaptation(pair.source, pair.target, method)
            if theirs is not None:
                found[name, method] = theirs
    return found


def _adaptation(study: Study, summary: dict[str, Any]) -> Iterator[Row]:
    """Our pairs, then the study's that we have not."""
    compared = set()
    for name, pair in study.pairs.items():
        data = f"{pair.source} ({study.origin(pair.source)}) → {pair.target} ({study.origin(pair.target)})"
        same = _same(study, pair)
        if same:
            compared.add((pair.source, pair.target))
        for method in dict.fromkeys([*study.all_methods, *reference.METHODS]):
            theirs = reference.adaptation(pair.source, pair.target, method) if same else None
            ours = summary[name].get(method)
            if theirs is not None or ours is not None:
                yield Row(f"{name}, {method_name(method)}", data, theirs, ours and ours["accuracy"], percent=True)
    for source, target in reference.ADAPTATION:
        for method in reference.METHODS if (source, target) not in compared else ():
            theirs = reference.adaptation(source, target, method)
            yield Row(f"{source}-{target}, {method_name(method)}", f"{source} → {target}", theirs, None, percent=True)


def _cut_and_sampled_alike(study: Study) -> bool:
    """Whether the report protocol and, as far as the params tell, the faces are the study's; a Fréchet distance needs both."""
    ours = study.datasets.celeba
    cut = ours is None or ours.model_dump(include=set(reference.CUT)) == reference.CUT
    return cut and (study.report.count, study.report.psi) == (reference.SAMPLES, reference.PSI)


def _same(study: Study, pair: Pair) -> bool:
    """Whether a pair is on whole data sets none of which is a stand-in."""
    return _comparable(study, pair.source, pair.target) and pair.max_source is pair.max_target is None


def _comparable(study: Study, *datasets: str) -> bool:
    """Whether none of the data sets is a stand-in."""
    return not any(map(study.stands_in, datasets))
