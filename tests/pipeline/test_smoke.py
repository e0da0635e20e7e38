"""The whole graph for real, on the smoke preset, in a clone of its own."""

import re

import pytest
import yaml

from tests.pipeline.clone import Clone


@pytest.fixture(scope="module")
def clone(tmp_path_factory):
    clone = Clone(tmp_path_factory.mktemp("clone"))
    clone.ran = clone.make_repro()
    return clone


def test_every_stage_runs(clone):
    stages = yaml.safe_load((clone.folder / "dvc.yaml").read_text())["stages"]
    # The preset has no folders of its own; test_folders.py has.
    assert {name.split("@")[0] for name in clone.ran} == set(stages) - {"import"}


def test_every_figure_of_the_study_is_in_the_summary(clone):
    summary = clone.summary()
    (pair,) = summary["adaptation"].values()
    assert set(pair) == {"source_only", "dann", "dsn", "mean_teacher", "target_only"}
    for method in pair.values():
        assert 0 <= method["accuracy"]["mean"] <= 1
        assert method["accuracy"]["n"] == 1
    for protocol in ("report", "clean"):
        faces = summary["stylegan2"][protocol]["efficientnet_lite0"]
        assert {"fd", "fd_floor", "kid", "precision", "recall", "cs"} <= set(faces)
        assert faces["fd"]["mean"] > faces["fd_floor"]["mean"] > 0
    assert 0 <= summary["acgan"]["judge_accuracy"]["mean"] <= 1
    diversity = summary["acgan"]["diversity"]
    assert 0 <= diversity["recall"]["mean"] < diversity["recall_ceiling"]["mean"] <= 1
    assert diversity["fd"]["mean"] > diversity["fd_floor"]["mean"] > 0
    assert 0.1 < summary["judge"]["test_accuracy"]["mean"] <= 1


def test_every_picture_is_there_and_the_page_needs_no_network(clone):
    assert len(list((clone.folder / "plots").glob("*.png"))) >= 8
    page = (clone.folder / "report/index.html").read_text()
    assert not re.findall(r"(?:src|href)=[\"']?(?:https?:)?//", page)
    assert page.count("data:image/") >= 8


def test_each_model_has_a_card_whose_lines_load_it(clone):
    runs = [path.name for path in (clone.folder / "models").iterdir() if path.is_dir()]
    assert len(runs) == 8 == len(list((clone.folder / "report/cards").iterdir()))
    for run in runs:
        text = (clone.folder / f"report/cards/{run}.md").read_text()
        [code] = re.findall(r"^```python\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
        assert f"models/{run}/weights.safetensors" in code
        clone.run("python", "-c", code)


def test_trained_models_are_used_by_the_names_of_their_runs(clone, tmp_path):
    for words in ("stylegan2-0 --count 3 --psi 0.7 --out faces.png", "acgan-0 --class 7 --count 12 --out sevens"):
        *words, out = words.split()
        clone.run("python", "-m", "stages.generation.sample", *words, str(tmp_path / out))
    assert (tmp_path / "faces.png").stat().st_size and len(list((tmp_path / "sevens").iterdir())) == 12
    for method in ("dsn", "mean_teacher", "target_only"):
        words = f"mnistm-mfeat-{method}-0", str(tmp_path / "sevens"), "--csv", str(tmp_path / f"{method}.csv")
        clone.run("python", "-m", "stages.adaptation.predict", *words)
        assert len((tmp_path / f"{method}.csv").read_text().splitlines()) == 13


def test_git_sees_only_lock_metrics_and_plots(clone):
    changed = {line[3:].split("/")[0] for line in clone.run("git", "status", "--porcelain").stdout.splitlines()}
    assert changed == {"dvc.lock", "metrics", "plots"}


def test_a_second_run_does_nothing(clone):
    assert clone.repro() == set()


def test_a_changed_param_reruns_only_what_it_touches(clone):
    clone.commit()
    clone.change("  batch_norm: eval\n", "  batch_norm: batch\n")
    assert clone.repro() == {"sample_acgan@0", "evaluate_acgan@0", "cards", "summarize", "page"}
    difference = clone.run("dvc", "params", "diff").stdout
    assert "acgan.sample.batch_norm" in difference and len(difference.strip().splitlines()) == 2
    assert "acgan.judge_accuracy.mean" in clone.run("dvc", "metrics", "diff", "--all").stdout
    clone.run("git", "checkout", "-q", ".")
    clone.run("dvc", "checkout")
    assert clone.repro() <= {"page"}


def test_a_wrong_param_stops_before_anything_is_lost(clone):
    clone.change("  batch_norm: eval\n", "  batch_norm: evil\n")
    try:
        done = clone.run("python", "-m", "stages.runtime.params", check=False)
        assert done.returncode == 1
        assert done.stderr.strip().splitlines() == [done.stderr.strip()]
        assert "acgan.sample.batch_norm" in done.stderr and "evil" in done.stderr
    finally:
        clone.run("git", "checkout", "-q", "params.yaml")
