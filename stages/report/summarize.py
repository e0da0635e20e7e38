"""Gather the figures of all runs that the params name into metrics/summary.json, and draw the pictures in plots/.

plots/summary.md sets the figures beside the study's, and has what no accuracy tells of adaptation and the verdicts of
metrics/ablation.csv; plots/ablation.png shows by how much the figures of its claims differ. Reads results/, samples/ and the
real faces in data/prepared/. Pictures of single runs show the first seed. Runs that the params don't name are left alone.

    python -m stages.report.summarize
"""

from collections.abc import Iterator, Sequence
from pathlib import Path

from matplotlib.figure import Figure

from stages.report import comparison, curves, figures, sheets, style, verdicts
from stages.report.names import method_name, pair_name
from stages.report.results import Results, Study, nearest_faces
from stages.report.summary import summarise
from stages.runtime import params
from stages.runtime.files import replacing, write_json
from stages.runtime.images import load_arrays
from stages.runtime.stage import run

PLOTS = Path("plots")


def main() -> None:
    study = Study(*params.read(*Study.KEYS))
    results = Results(study)
    summary = summarise(results)
    claims = verdicts.finished(verdicts.read())
    write_json("metrics/summary.json", summary)
    with replacing(PLOTS / "summary.md") as temporary:
        page = comparison.markdown(comparison.rows(study, summary)) + comparison.beside_accuracy(summary["adaptation"])
        temporary.write_text(page + comparison.ablation(claims), encoding="utf-8")
    drawn = set()
    for name, figure in draw(results, summary, claims):
        style.save(figure, PLOTS / f"{name}.png")
        drawn.add(f"{name}.png")
    for path in PLOTS.glob("*.png"):
        if path.name not in drawn:
            path.unlink()


def draw(results: Results, summary: dict, claims: list[list[verdicts.Reading]]) -> Iterator[tuple[str, Figure]]:
    """All pictures by file name, drawn one after the other."""
    if any(map(verdicts.gains, claims)):
        yield "ablation", figures.gains(claims)
    yield from draw_faces(results)
    yield from draw_digits(results)
    yield "accuracy", figures.accuracy_bars(summary["adaptation"])
    found = results.adaptation
    curve = {pair: {name: [run["curve"] for run in runs] for name, runs in by.items()} for pair, by in found.items()}
    if all(points for by in curve.values() for runs in by.values() for points in runs):
        yield "accuracy_curves", curves.accuracies(curve)
    for pair in results.study.pairs:
        yield from draw_pair(results, pair)


def draw_faces(results: Results) -> Iterator[tuple[str, Figure]]:
    """StyleGAN2: samples of both protocols beside real faces, some above the nearest of training, the way there, and losses."""
    name = f"stylegan2-{results.study.stylegan2_seeds[0]}"
    report, clean = load_arrays(f"samples/{name}.npz", "report_images", "clean_images")
    (real,) = load_arrays(f"data/prepared/{results.study.faces}.npz", "test_images")
    yield "faces", sheets.faces(report, real, "report")
    yield "faces_clean", sheets.faces(clean, real, "clean")
    if results.neighbours:
        found = results.neighbours[0]
        (train,) = load_arrays(f"data/prepared/{results.study.faces}.npz", "train_images")
        title = f"{found['protocol']} protocol, nearest in {results.study.extractors[0]}'s features"
        samples = {"report": report, "clean": clean}[found["protocol"]]
        yield "neighbours", sheets.neighbours(samples, nearest_faces(found, train), title)
    yield from draw_progress("faces_progress", name, range(12))
    yield "training_stylegan2", curves.stylegan2(results.history(name))


def draw_digits(results: Results) -> Iterator[tuple[str, Figure]]:
    """ACGAN and its judge: samples by class, the way there, the losses, and what the judge takes for what."""
    name = f"acgan-{results.study.acgan_seeds[0]}"
    images, labels = load_arrays(f"samples/{name}.npz", "images", "labels")
    yield "digits", sheets.digits(images, labels)
    yield from draw_progress("digits_progress", name, range(0, 100, 10))
    yield "training_acgan", curves.acgan(results.history(name))
    yield "training_judge", curves.judge(results.history("judge"))
    judge, digits = results.judge, results.digits[0]
    yield "judge_classes", figures.judged(judge["per_class"], digits["per_class"])
    matrices = {"real test digits": judge["confusion"], "generated digits": digits["confusion"]}
    yield "confusion_judge", figures.confusions(matrices, generated="generated digits")


def draw_progress(picture: str, name: str, shown: Sequence[int]) -> Iterator[tuple[str, Figure]]:
    """Images `shown` of every snapshot of one run; nothing where the params ask for no snapshots."""
    path = f"results/{name}/snapshots.npz"
    (steps,) = load_arrays(path, "steps")
    if len(steps):
        (images,) = load_arrays(path, "images")
        yield picture, sheets.progress(steps, images, shown)


def draw_pair(results: Results, pair: str) -> Iterator[tuple[str, Figure]]:
    """One pair: losses and confusion of every method, and t-SNE of those that have one."""
    first = results.study.seeds[0]
    histories = {method: results.history(f"{pair}-{method}-{first}") for method in results.study.all_methods}
    yield f"training_{pair}", curves.adaptation(histories)
    matrices = {
        f"{method_name(method)}: {100 * runs[0]['accuracy']:.1f} %": runs[0]["confusion"]
        for method, runs in results.adaptation[pair].items()
    }
    yield f"confusion_{pair}", figures.confusions(matrices)
    for method in results.study.methods:
        name = f"{pair_name(pair)}, {method_name(method)}"
        yield f"tsne_{pair}_{method}", figures.tsne(results.embedding(pair, method), name)


if __name__ == "__main__":
    run(main)
