"""The summary's figures and pictures, from the runs that the params name and no others."""

import json
import shutil
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pytest
import yaml
from PIL import Image

from stages.report import sheets, summarize
from stages.report.results import Results, Study
from stages.report.summary import of_adaptation, spread
from stages.runtime import params
from stages.runtime.errors import UserError
from stages.runtime.files import write_json
from stages.runtime.images import load_arrays, save_arrays
from tests.report import conftest
from tests.report.conftest import ablation

PAIR = "syn-mnistm"
PICTURES = {
    *(
        "faces",
        "faces_clean",
        "faces_progress",
        "training_stylegan2",
        "digits",
        "digits_progress",
        "training_acgan",
        "training_judge",
    ),
    *("judge_classes", "confusion_judge", "accuracy", "accuracy_curves", f"training_{PAIR}", f"confusion_{PAIR}"),
    *(f"tsne_{PAIR}_{method}" for method in ("source_only", "dann", "dsn")),
}


def change(section: str, **values) -> None:
    content = yaml.safe_load(Path("params.yaml").read_text())
    content[section] |= values
    Path("params.yaml").write_text(yaml.safe_dump(content, sort_keys=False))


def summary() -> dict:
    return json.loads(Path("metrics/summary.json").read_text())


def test_several_values_have_a_mean_a_standard_deviation_and_a_number():
    assert spread([1.0, 2.0, 3.0]) == {"mean": 2.0, "std": 1.0, "n": 3}


def test_the_spread_of_one_value_is_unknown_rather_than_zero():
    assert spread([0.25]) == {"mean": 0.25, "std": None, "n": 1}


def test_the_summary_has_the_figures_of_every_part(study):
    found = summary()
    assert found["adaptation"][PAIR]["dann"]["accuracy"] == {"mean": 0.59, "std": pytest.approx(0.01414, abs=1e-5), "n": 2}
    assert list(found["adaptation"][PAIR]) == ["source_only", "dann", "dsn", "target_only"]
    for protocol, mean in (("report", 260.0), ("clean", 210.0)):
        fd = found["stylegan2"][protocol]["efficientnet_lite0"]["fd"]
        assert fd == {"mean": mean, "std": pytest.approx(14.142, abs=1e-3), "n": 2}
    assert found["acgan"]["judge_accuracy"] == {"mean": pytest.approx(0.86), "std": pytest.approx(0.01414, abs=1e-5), "n": 2}
    assert found["acgan"]["diversity"]["recall"] == {"mean": pytest.approx(0.51), "std": pytest.approx(0.01414, abs=1e-5), "n": 2}
    assert list(found["acgan"]["diversity"]) == ["recall", "recall_ceiling", "precision", "precision_ceiling", "fd", "fd_floor"]
    assert found["judge"]["test_accuracy"] == {"mean": 0.97, "std": None, "n": 1}


def test_a_method_s_figures_are_those_that_all_its_runs_have(study):
    found = summary()["adaptation"][PAIR]["dann"]
    assert set(found) == {"accuracy", "proxy_a_distance", "regret"}
    assert found["proxy_a_distance"] == {"mean": 1.625, "std": pytest.approx(0.17678, abs=1e-5), "n": 2}
    assert found["regret"] == {"last": {"mean": 0.005, "std": pytest.approx(0.00707, abs=1e-5), "n": 2}}
    runs = Results(Study(*params.read(*Study.KEYS))).adaptation[PAIR]["dann"]
    tuned = [run | {"oracle_dev_accuracy": 0.5, "proxy_a_distance": None, "selection": {}} for run in runs]
    assert of_adaptation(tuned) == {"accuracy": found["accuracy"], "oracle_dev_accuracy": {"mean": 0.5, "std": 0.0, "n": 2}}


def test_the_novelty_is_in_the_summary_and_its_table_where_it_is_known_of_every_seed(study):
    assert "novelty" not in summary()["stylegan2"]["clean"]["efficientnet_lite0"]
    conftest.write_neighbours()
    conftest.summarise_with_a_blank_picture()
    clean = summary()["stylegan2"]["clean"]["efficientnet_lite0"]
    assert clean["novelty"] == {"mean": pytest.approx(0.8), "std": pytest.approx(0.0707, abs=1e-4), "n": 2}
    assert clean["near_share"]["mean"] == pytest.approx(0.08) and clean["thumbnail_near_share"]["mean"] == pytest.approx(0.008)
    row = "StyleGAN2, novelty on efficientnet\\_lite0, clean protocol | orl (packaged) | – | 0.80 ± 0.07 (n = 2) | – | 1.00"
    assert row in Path("plots/summary.md").read_text()
    assert (
        "StyleGAN2, novelty of thumbnails, clean protocol | orl (packaged) | – | 1.60 ± 0.14 (n = 2) | – | 1.00"
        in Path("plots/summary.md").read_text()
    )
    nearest = json.loads(Path("results/stylegan2-1/neighbours.json").read_text())
    write_json("results/stylegan2-1/neighbours.json", nearest | {"novelty": None})
    conftest.summarise_with_a_blank_picture()
    assert "novelty" not in summary()["stylegan2"]["clean"]["efficientnet_lite0"]


def test_counts_and_words_are_no_metrics(study):
    faces = summary()["stylegan2"]["clean"]["efficientnet_lite0"]
    assert {"fd", "fd_floor", "fd_train", "fd_untrained", "fd_pca", "kid", "precision", "recall", "cs"} <= faces.keys()
    assert not {"resize", "n_real", "n_fake", "n_floor"} & faces.keys()
    assert not {"fd_untrained", "fd_pca"} & summary()["stylegan2"]["report"]["efficientnet_lite0"].keys()


def test_every_extractor_is_in_the_summary_under_both_protocols(paper_study):
    found = summary()["stylegan2"]
    assert list(found) == ["report", "clean"]
    for extractors in found.values():
        assert list(extractors) == ["inception", "inception_torchvision"]
        assert {"fid", "is"} <= extractors["inception"].keys() and "fd" not in extractors["inception"]
        assert {"fd", "is_torchvision"} <= extractors["inception_torchvision"].keys()


def test_every_picture_is_drawn_and_is_a_png_without_a_date(study):
    assert {path.stem for path in Path("plots").glob("*.png")} == PICTURES
    for path in Path("plots").glob("*.png"):
        with Image.open(path) as picture:
            assert picture.format == "PNG" and picture.width > 300
            assert not {"Software", "Creation Time"} & picture.info.keys()


def test_claims_are_drawn_where_a_difference_is_known(study):
    def first(*claims):
        return next(summarize.draw(Results(Study(*params.read(*Study.KEYS))), {}, list(claims)))[0]

    alone = ablation(std=None, n=1)
    assert (first(), first(alone), first(alone, ablation())) == ("faces", "faces", "ablation")


def test_the_faces_of_each_protocol_are_its_own_samples(study, monkeypatch):
    shown = []
    monkeypatch.setattr(sheets, "faces", lambda generated, real, protocol: shown.append((protocol, generated)))
    report, clean = np.zeros((40, 8, 8, 3), np.uint8), np.ones((40, 8, 8, 3), np.uint8)
    save_arrays("samples/stylegan2-0.npz", report_images=report, clean_images=clean, untrained_images=clean)
    pictures = summarize.draw_faces(Results(Study(*params.read(*Study.KEYS))))
    assert [name for name, _ in (next(pictures), next(pictures))] == ["faces", "faces_clean"]
    assert [(protocol, int(images.max())) for protocol, images in shown] == [("report", 0), ("clean", 1)]


def test_the_training_faces_nearest_to_generated_ones_are_drawn_where_they_are_known(study):
    conftest.write_extras()
    real = conftest.images(40, 8)
    samples, (train,) = 255 - real, load_arrays("data/prepared/orl.npz", "train_images")
    save_arrays("samples/stylegan2-0.npz", report_images=real, clean_images=samples)
    pictures = dict(summarize.draw_faces(Results(Study(*params.read(*Study.KEYS)))))
    [axis] = pictures["neighbours"].axes
    shown = axis.images[0].get_array()
    assert (shown[:8, :8] == samples[0]).all() and (shown[:8, 10:18] == samples[1]).all()
    assert (shown[10:18, :8] == train[0]).all() and (shown[20:28, :8] == train[1, :, ::-1]).all()
    assert axis.get_title("left") == "clean protocol, nearest in efficientnet_lite0's features"


def test_the_judge_s_matrices_tell_a_true_class_from_one_asked_for(study):
    pictures = dict(summarize.draw_digits(Results(Study(*params.read(*Study.KEYS)))))
    real, generated = pictures["confusion_judge"].axes
    assert (real.get_title("left"), generated.get_title("left")) == ("real test digits", "generated digits")
    assert real.get_ylabel().startswith("true class") and generated.get_ylabel().startswith("class asked for")


def test_an_embedding_s_picture_names_its_pair_and_method(study):
    pictures = summarize.draw_pair(Results(Study(*params.read(*Study.KEYS))), PAIR)
    names = [figure.get_suptitle() for name, figure in pictures if name.startswith("tsne")]
    assert names == ["syn → mnistm, source only", "syn → mnistm, DANN", "syn → mnistm, DSN"]


def test_the_same_results_give_the_same_bytes_and_pictures_of_other_runs_go(study):
    before = {path.name: path.read_bytes() for path in [*Path("plots").iterdir(), Path("metrics/summary.json")]}
    shutil.copy("plots/faces.png", "plots/tsne_old-pair_dann.png")
    summarize.main()
    assert {path.name: path.read_bytes() for path in [*Path("plots").iterdir(), Path("metrics/summary.json")]} == before


def test_runs_that_the_params_no_longer_name_are_left_out(study, monkeypatch):
    monkeypatch.setattr("stages.report.style.save", lambda figure, path: plt.close(figure))
    change("adaptation", methods=["source_only"], seeds=[1])
    write_json("results/not-listed-0/evaluation.json", {"accuracy": 0})
    summarize.main()
    assert list(summary()["adaptation"][PAIR]) == ["source_only", "target_only"]
    assert summary()["adaptation"][PAIR]["source_only"]["accuracy"] == {"mean": 0.54, "std": None, "n": 1}
    assert f"tsne_{PAIR}_dann.png" not in {path.name for path in Path("plots").iterdir()}
    assert Path("results/not-listed-0/evaluation.json").exists()


@pytest.mark.parametrize(
    "path, content, complaint",
    [
        ("results/stylegan2-1/evaluation-efficientnet_lite0.json", None, "is missing"),
        ("results/judge/evaluation.json", "{", "is damaged"),
        (f"results/{PAIR}-dann-0/history.csv", None, "is missing"),
        (f"results/{PAIR}-dann-0/history.csv", "", "is damaged"),
        (f"results/{PAIR}-dann/embedding.csv", "a,b\n1,2\n", "has no column domain, label, x, y"),
    ],
)
def test_missing_and_damaged_results_are_named_in_one_line(study, path, content, complaint, monkeypatch):
    monkeypatch.setattr("stages.report.style.save", lambda figure, path: plt.close(figure))
    Path(path).unlink()
    if content is not None:
        Path(path).write_text(content)
    with pytest.raises(UserError, match=complaint) as caught:
        summarize.main()
    assert str(caught.value).startswith(path) and "\n" not in str(caught.value)
