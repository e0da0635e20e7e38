"""Write report/index.html: every figure and picture of the study in one file that needs no network.

Reads metrics/, results/, samples/, the prepared images in data/ and, where they are, the times in .timings/ and the git commit.

    python -m stages.report.page
"""

from pathlib import Path
from typing import Any

import yaml

from stages.report import brief, charts, comparison, embedding, gallery, readings, verdicts
from stages.report.datasets import described
from stages.report.names import AUGMENTED, REGULARISERS
from stages.report.render import write
from stages.report.results import Results, Study
from stages.report.timings import provenance, read_timings
from stages.runtime import params
from stages.runtime.files import read_json
from stages.runtime.stage import run

SECTIONS = ("data", "training", "stylegan2", "acgan", "judge", "adaptation", "embedding", "evaluation")
SCORES = ("is", "is_torchvision", "cs")


def main() -> None:
    data, _, stylegan2, acgan, judge, adaptation, _, evaluation = params.read(*SECTIONS)
    study = Study(
        *(stylegan2.dataset, stylegan2.sample.report, acgan.dataset, judge.dataset, data.datasets, data.folders),
        *(stylegan2.seeds, acgan.seeds, adaptation.pairs, adaptation.methods, adaptation.seeds, evaluation.extractors),
    )
    content = shown(study, Results(study), read_json("metrics/summary.json"))
    trainings = {"StyleGAN2": stylegan2.train, "ACGAN": acgan.train, "judge": judge, "adaptation": adaptation.common}
    content |= {
        "sample": stylegan2.sample,
        "selection": adaptation.common.selection,
        "steps": {"stylegan2": stylegan2.train.steps, "acgan": acgan.train.steps, "judge": judge.steps},
        "precision": {name: training.precision for name, training in trainings.items()},
        "params": without_places(Path("params.yaml").read_text(encoding="utf-8")),
    }
    write("report/index.html", "page.html", content)


def shown(study: Study, results: Results, summary: dict[str, Any]) -> dict[str, Any]:
    """What the page's template shows of the results."""
    rows, theirs = comparison.rows(study, summary), comparison.adaptation_figures(study)
    return {
        "study": study,
        "results": results,
        "summary": summary,
        "answers": list(brief.answers(study, summary, rows)),
        "groups": groups(rows),
        "rules": comparison.regretted(summary["adaptation"]),
        "stand_ins": [name for name in study.data if study.stands_in(name)],
        "faces": gallery.faces(results),
        "digits": gallery.digits(results),
        "reconstructions": {pair: gallery.reconstructions(results.folder / f"{pair}-dsn") for pair in study.pairs},
        "charts": draw(results, summary, theirs),
        "theirs": theirs,
        "points": {pair: embedding.points(results, pair) for pair in study.pairs},
        "networks": results.networks,
        "claims": verdicts.by_claim(verdicts.read()),
        "gains": verdicts.gains,
        "tried": readings.read(),
        "datasets": described(study),
        "parts": read_timings(study),
        "provenance": provenance(),
        **{"head": comparison.HEAD, "scores": SCORES, "kinds": gallery.RECONSTRUCTIONS},
    }


def draw(results: Results, summary: dict[str, Any], theirs: dict[tuple[str, str], float]) -> dict[str, charts.Spec]:
    """The charts by the names that the templates give them; those of single runs show the first seed."""
    study = results.study
    found = {"accuracy": charts.accuracy_bars(summary["adaptation"], theirs)}
    found |= {f"tsne_{colour}": charts.scatter(colour) for colour in ("label", "domain")}
    faces = results.history(f"stylegan2-{study.stylegan2_seeds[0]}")
    found["stylegan2_losses"] = charts.lines(faces, {"loss_d": "discriminator", "loss_g": "generator"}, "loss")
    found["stylegan2_scores"] = charts.lines(faces, {"d_real": "on real", "d_fake": "on generated"}, "discriminator’s output")
    found["stylegan2_rest"] = charts.lines(faces, REGULARISERS, "regulariser", right=AUGMENTED)
    digits = results.history(f"acgan-{study.acgan_seeds[0]}")
    found["acgan_losses"] = charts.lines(digits, {"loss_discriminator": "discriminator", "loss_generator": "generator"}, "loss")
    heads = {"accuracy_real": "real", "accuracy_fake": "generated"}
    found["acgan_accuracy"] = charts.lines(digits, heads, "class head’s accuracy", share=True)
    judge = results.history("judge")
    found["judge_loss"] = charts.lines(judge, {"loss": "cross-entropy"}, "loss, log scale", log=True)
    found["judge_accuracy"] = charts.lines(judge, {"accuracy": "training batches"}, "accuracy", share=True)
    judged = {"real test digits": results.judge["per_class"], "generated digits": results.digits[0]["per_class"]}
    found["judge_classes"] = charts.by_class(judged, "the judge's accuracy")
    recall = results.digits[0]["diversity"]["per_class"]
    differing = {"real training digits": recall["recall_ceiling"], "generated digits": recall["recall"]}
    found["diversity_classes"] = charts.by_class(differing, "recall of real test digits")
    for pair in study.pairs:
        found[f"curve_{pair}"] = charts.accuracy_curves(results.adaptation[pair])
        for method in study.all_methods:
            found[f"losses_{pair}_{method}"] = charts.losses(results.history(f"{pair}-{method}-{study.seeds[0]}"))
    return found


def groups(rows: list[comparison.Row]) -> list[tuple[str, list[comparison.Row]]]:
    """The rows by what can be compared, under a heading each; groups without rows are left out."""
    found: dict[str, list[comparison.Row]] = {"both": [], "ours": [], "theirs": []}
    for row in rows:
        found["theirs" if row.ours is None else "ours" if row.theirs is None else "both"].append(row)
    return [(name, group) for name, group in found.items() if group]


def without_places(text: str) -> str:
    """params.yaml's text without the user's own folders and mirror, which say where things are on one machine."""
    data = dict((key.value, value) for key, value in yaml.compose(text).value)["data"]
    entries = {key.value: value for key, value in data.value}
    places = [*(value for _, value in entries["folders"].value), entries["mirror"]]
    for node in sorted(places, key=lambda node: node.start_mark.index, reverse=True):
        if node.tag != "tag:yaml.org,2002:null":
            text = f"{text[: node.start_mark.index]}(not shown){text[node.end_mark.index :]}"
    return text


if __name__ == "__main__":
    run(main)
