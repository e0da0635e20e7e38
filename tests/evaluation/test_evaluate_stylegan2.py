"""The stages that look at real faces once and at each seed's samples, from files to file, with a small extractor."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from stages.evaluation import evaluate_stylegan2, extractors, statistics
from stages.runtime import params, schema
from stages.runtime.errors import UserError
from stages.runtime.images import load_arrays, save_arrays

SETTINGS = schema.Metrics(batch_size=8, neighbours=3, splits=4, kid_subsets=5, kid_subset_size=10, seed=0)
SAMPLE = schema.StyleGAN2Sample(
    mean_style="sampled", mean_latents=5, report=schema.Sampling(count=10, psi=0.75), clean=schema.Sampling(count=20, psi=1.0)
)
REPORT = {
    *("fd", "fd_floor", "fd_train", "kid", "kid_std", "kid_floor"),
    *("precision", "precision_ceiling", "recall", "recall_ceiling"),
    *("cs", "cs_std", "cs_real", "n_real", "n_fake", "n_floor", "resize"),
}


class Tiny(extractors.Extractor):
    """Features are the colours of the image's quarters, logits a fixed mixture of them; it remembers what it saw."""

    resize, distance, score = "quarters", "fd", "cs"

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.network = nn.Linear(12, 7)
        self.seen = []

    def forward(self, images):
        self.seen += [image.numpy().tobytes() for image in images]
        features = F.adaptive_avg_pool2d(images, 2).flatten(1)
        return features, self.network(features)


class Named(Tiny):
    distance, score = "fid", "is"


def faces(count: int, seed: int, size: int = 6) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (count, size, size, 3), dtype=np.uint8)


def write_samples(report: int = 10, clean: int = 20, untrained: int = 20, size: int = 6) -> None:
    images = {"report": (report, 3), "clean": (clean, 4), "untrained": (untrained, 5)}
    arrays = {f"{name}_images": faces(count, seed, size) for name, (count, seed) in images.items()}
    save_arrays("samples/stylegan2-3.npz", **arrays)


@pytest.fixture
def values(monkeypatch) -> dict[str, object]:
    values = {"evaluation.metrics": SETTINGS, "stylegan2.dataset": "orl"}
    values |= {f"stylegan2.sample.{name}.count": getattr(SAMPLE, name).count for name in ("report", "clean")}
    monkeypatch.setattr(params, "read", lambda *keys: [values[key] for key in keys])
    return values


@pytest.fixture
def tiny(tmp_path, monkeypatch, values) -> Tiny:
    """A folder with faces and samples, in which every extractor is the small one."""
    monkeypatch.chdir(tmp_path)
    network = Tiny().eval()
    monkeypatch.setattr(extractors, "load", lambda name: network)
    save_arrays("data/prepared/orl.npz", train_images=faces(30, 1), test_images=faces(12, 2))
    write_samples()
    return network


def written(extractor: str = "tiny") -> dict[str, dict[str, object]]:
    return json.loads(Path(f"results/stylegan2-3/evaluation-{extractor}.json").read_text())["protocols"]


def test_the_figures_are_written_by_protocol(tiny):
    statistics.main("tiny")
    evaluate_stylegan2.main(3, "tiny")
    protocols = written()
    assert protocols.keys() == {"report", "clean"}
    assert protocols["report"].keys() == REPORT
    assert protocols["clean"].keys() == REPORT | {"fd_untrained", "fd_pca"}
    numbers = {name: tuple(figures[key] for key in ("n_real", "n_fake", "n_floor")) for name, figures in protocols.items()}
    assert numbers == {"report": (12, 10, 10), "clean": (12, 20, 20)}
    assert protocols["report"]["fd"] != protocols["clean"]["fd"]
    assert protocols["report"]["fd_floor"] > protocols["clean"]["fd_floor"]
    assert {figures["resize"] for figures in protocols.values()} == {"quarters"}


def test_the_extractor_gives_distance_and_score_their_names(tiny, monkeypatch):
    monkeypatch.setattr(extractors, "load", lambda name: Named().eval())
    statistics.main("tiny")
    evaluate_stylegan2.main(3, "tiny")
    assert {"fid", "fid_floor", "fid_train", "is", "is_std", "is_real"} <= written()["report"].keys()
    assert {"fid_untrained", "fid_pca"} <= written()["clean"].keys()
    assert not {"fd", "cs", "fd_floor", "fd_pca"} & written()["clean"].keys()


def test_every_image_is_looked_at_once_real_ones_in_one_stage_and_samples_in_the_other(tiny):
    statistics.main("tiny")
    pca = 20
    assert len(tiny.seen) == len(set(tiny.seen)) == 30 + 12 + pca
    tiny.seen.clear()
    evaluate_stylegan2.main(3, "tiny")
    assert len(tiny.seen) == len(set(tiny.seen)) == 10 + 20 + 20


def test_samples_that_are_the_training_images_get_the_floor(tiny):
    """With as many samples as training images, in another order, the floor is their own distance."""
    train = faces(20, 1)
    save_arrays("data/prepared/orl.npz", train_images=train, test_images=faces(12, 2))
    save_arrays("samples/stylegan2-3.npz", report_images=faces(10, 3), clean_images=train[::-1].copy(), untrained_images=train)
    statistics.main("tiny")
    evaluate_stylegan2.main(3, "tiny")
    clean = written()["clean"]
    assert clean["fd"] == pytest.approx(clean["fd_floor"]) == pytest.approx(clean["fd_untrained"])
    assert clean["fd_train"] == pytest.approx(0, abs=1e-9)
    assert clean["fd"] > 1e-4


def test_the_same_inputs_give_the_same_bytes(tiny):
    paths = Path("data/statistics/tiny.npz"), Path("results/stylegan2-3/evaluation-tiny.json")
    seen = []
    for _ in range(2):
        statistics.main("tiny")
        evaluate_stylegan2.main(3, "tiny")
        seen.append([path.read_bytes() for path in paths])
    assert seen[0] == seen[1]


def test_a_line_tells_how_far_the_images_are_and_the_time_left(tiny, capsys):
    statistics.main("tiny")
    lines = capsys.readouterr().err.splitlines()
    assert any(line.startswith("tiny, train images: 30/30 ") and line.endswith(" images/s, 00:00 left") for line in lines)


def test_activations_come_in_order_in_parts_of_whole_batches():
    network = Tiny().eval()
    parts = list(extractors.chunks(network, faces(30, 1), 4, size=10))
    assert [len(part) for part in parts] == [12, 12, 6]
    whole = extractors.extract(network, faces(30, 1), 4)
    for name in ("features", "logits"):
        assert np.array_equal(np.concatenate([getattr(part, name) for part in parts]), getattr(whole, name))


def test_samples_of_another_size_than_the_real_images_are_refused(tiny):
    statistics.main("tiny")
    write_samples(size=8)
    with pytest.raises(UserError, match="differ in shape"):
        evaluate_stylegan2.main(3, "tiny")


def test_real_images_of_two_sizes_are_refused(tiny):
    save_arrays("data/prepared/orl.npz", train_images=faces(30, 1), test_images=faces(12, 2, 8))
    with pytest.raises(UserError, match=r"prepared/orl\.npz: training images .* differ in shape"):
        statistics.main("tiny")


def test_one_training_image_is_refused(tiny):
    save_arrays("data/prepared/orl.npz", train_images=faces(1, 1), test_images=faces(12, 2))
    with pytest.raises(UserError, match="1 training image is too few"):
        statistics.main("tiny")


@pytest.mark.parametrize(("protocol", "count"), [("report", 9), ("clean", 25)])
def test_statistics_for_another_number_of_samples_are_refused(tiny, protocol, count):
    statistics.main("tiny")
    write_samples(**{protocol: count})
    with pytest.raises(UserError, match=rf"tiny\.npz is for \d+ {protocol} samples, but there are {count}"):
        evaluate_stylegan2.main(3, "tiny")
    assert not Path("results").exists()


def test_statistics_of_another_extractor_are_refused(tiny):
    statistics.main("tiny")
    Path("data/statistics/tiny.npz").rename("data/statistics/other.npz")
    with pytest.raises(UserError, match="made by the extractor tiny, not by other"):
        evaluate_stylegan2.main(3, "other")


@pytest.mark.parametrize(("damage", "message"), [("missing", "is missing"), ("cut", "is damaged"), ("old", "no array")])
def test_statistics_that_are_no_statistics_are_refused(tiny, damage, message):
    path = Path("data/statistics/tiny.npz")
    statistics.main("tiny")
    whole = path.read_bytes()
    path.unlink()
    if damage == "cut":
        path.write_bytes(whole[: len(whole) // 2])
    if damage == "old":
        save_arrays(path, extractor=np.array("tiny"))
    with pytest.raises(UserError, match=message) as caught:
        evaluate_stylegan2.main(3, "tiny")
    assert "data/statistics/tiny.npz" in str(caught.value) and "\n" not in str(caught.value)


def test_settings_for_more_images_than_there_are_are_refused_before_any_is_looked_at(tiny, values):
    values["evaluation.metrics"] = SETTINGS.model_copy(update={"splits": 11})
    with pytest.raises(UserError, match=r"evaluation\.metrics\.splits is 11, too many for 10 samples \(report\)"):
        statistics.main("tiny")
    values["evaluation.metrics"] = SETTINGS
    statistics.main("tiny")
    tiny.seen.clear()
    values["evaluation.metrics"] = SETTINGS.model_copy(update={"neighbours": 12})
    with pytest.raises(UserError, match=r"evaluation\.metrics\.neighbours is 12"):
        evaluate_stylegan2.main(3, "tiny")
    assert not tiny.seen


@pytest.mark.slow
def test_the_stages_run_with_the_packaged_extractor_on_random_weights(tmp_path, monkeypatch, values):
    monkeypatch.chdir(tmp_path)
    torch.manual_seed(0)
    network = extractors.EfficientNetLite0().network
    Path("data/raw/efficientnet_lite0").mkdir(parents=True)
    torch.save(network.state_dict(), "data/raw/efficientnet_lite0/random.pth")
    save_arrays("data/prepared/orl.npz", train_images=faces(30, 1), test_images=faces(12, 2))
    write_samples()
    statistics.main("efficientnet_lite0")
    evaluate_stylegan2.main(3, "efficientnet_lite0")
    assert written("efficientnet_lite0")["clean"].keys() == REPORT | {"fd_untrained", "fd_pca"}
    (features,) = load_arrays("data/statistics/efficientnet_lite0.npz", "test_features")
    assert features.shape == (12, 1280)
