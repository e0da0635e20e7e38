"""All figures of one comparison, the baseline images, and the stage that puts them together."""

import json

import numpy as np
import pytest

from stages.evaluation import evaluate_stylegan2, extractors
from stages.evaluation.baselines import pca_gaussian
from stages.evaluation.compare import ImageSets, compare
from stages.evaluation.extractors import Activations
from stages.runtime.images import save_arrays
from stages.runtime.params import Evaluation
from stages.runtime.stage import UserError

SETTINGS = Evaluation(
    extractors=["efficientnet_lite0"], batch_size=8, neighbours=3, splits=4, kid_subsets=5, kid_subset_size=20, seed=0
)
KEYS = {
    *("fd", "fd_floor", "fd_train", "fd_untrained", "fd_pca", "kid", "kid_std", "kid_floor", "precision", "recall"),
    *("cs", "cs_std", "cs_real", "n_real", "n_fake", "n_floor"),
}


def activations(count: int, seed: int, shift: float = 0.0) -> Activations:
    generator = np.random.default_rng(seed)
    features = generator.normal(shift, 1, size=(count, 6)).astype(np.float32)
    return Activations(features, generator.normal(size=(count, 9)).astype(np.float32))


@pytest.fixture
def sets() -> ImageSets:
    return ImageSets(activations(40, 0), activations(90, 1), activations(60, 2, 1), activations(60, 3, 9), activations(60, 4, 3))


def test_every_figure_is_there_and_a_number(sets):
    figures = compare(sets, SETTINGS)
    assert figures.keys() == KEYS
    assert all(np.isfinite(value) for value in figures.values())
    assert (figures["n_real"], figures["n_fake"], figures["n_floor"]) == (40, 60, 60)


def test_the_distances_order_the_sets_as_they_were_made(sets):
    figures = compare(sets, SETTINGS)
    assert figures["fd_floor"] < figures["fd"] < figures["fd_pca"] < figures["fd_untrained"]
    assert figures["kid_floor"] < figures["kid"]


def test_the_floor_never_takes_more_training_images_than_there_are(sets):
    few = ImageSets(sets.test, sets.train.take(slice(0, 30)), sets.fake, sets.untrained, sets.pca)
    assert compare(few, SETTINGS)["n_floor"] == 30


def test_the_same_activations_give_the_same_figures(sets):
    assert compare(sets, SETTINGS) == compare(sets, SETTINGS)


def test_the_names_of_distance_and_score_follow_the_extractor(sets):
    figures = compare(sets, SETTINGS, fd="fid", cs="is")
    assert {"fid", "fid_floor", "is", "is_std"} <= figures.keys() and not {"fd", "cs"} & figures.keys()


def test_the_baseline_has_the_mean_and_covariance_of_its_leading_components():
    generator = np.random.default_rng(0)
    pattern = generator.normal(size=(2, 4 * 4 * 3))
    pixels = 128 + generator.normal(size=(500, 2)) @ pattern * 10
    images = pixels.round().clip(0, 255).astype(np.uint8).reshape(500, 4, 4, 3)
    drawn = pca_gaussian(images, 4000, generator=np.random.default_rng(1), components=2)
    assert drawn.shape == (4000, 4, 4, 3) and drawn.dtype == np.uint8
    real, fake = (array.reshape(len(array), -1).astype(float) for array in (images, drawn))
    assert np.abs(real.mean(axis=0) - fake.mean(axis=0)).max() < 2
    spread = np.linalg.norm(np.cov(real, rowvar=False))
    assert np.linalg.norm(np.cov(real, rowvar=False) - np.cov(fake, rowvar=False)) < 0.1 * spread


def test_the_baseline_does_without_some_components_where_images_are_few():
    images = np.random.default_rng(0).integers(0, 256, (5, 4, 4, 3), dtype=np.uint8)
    assert pca_gaussian(images, 7, generator=np.random.default_rng(0)).shape == (7, 4, 4, 3)


class TestStage:
    """The stage from files to file, with a small network in the extractor's place."""

    @pytest.fixture
    def folder(self, tmp_path, monkeypatch):
        generator = np.random.default_rng(0)
        train, test, fake, untrained = (
            generator.integers(0, 256, (count, 6, 6, 3), dtype=np.uint8) for count in (30, 12, 20, 20)
        )
        save_arrays(tmp_path / "data/prepared/orl.npz", train_images=train, test_images=test)
        save_arrays(tmp_path / "samples/stylegan2-3.npz", images=fake, untrained=untrained)
        monkeypatch.chdir(tmp_path)
        monkeypatch.setattr("stages.runtime.params.read", lambda *keys: ["orl", SETTINGS])
        seen = []

        def extract(extractor, images, batch_size):
            seen.append(len(images))
            flat = images.reshape(len(images), -1).astype(np.float32) / 255
            return Activations(flat[:, :8], flat[:, :5])

        monkeypatch.setattr(extractors, "load", lambda name: extractors.EfficientNetLite0)
        monkeypatch.setattr(extractors, "extract", extract)
        self.seen = seen
        return tmp_path

    def test_the_figures_are_written_by_protocol_and_extractor(self, folder):
        evaluate_stylegan2.main(3)
        written = json.loads((folder / "results/stylegan2-3/evaluation.json").read_text())
        figures = written["protocols"]["clean"]["efficientnet_lite0"]
        assert figures.keys() == KEYS | {"resize"}
        assert figures["resize"] == "bilinear 224"

    def test_every_image_set_is_looked_at_once(self, folder):
        evaluate_stylegan2.main(3)
        assert sorted(self.seen) == [12, 20, 20, 20, 30]

    def test_the_same_inputs_give_the_same_bytes(self, folder):
        path = folder / "results/stylegan2-3/evaluation.json"
        evaluate_stylegan2.main(3)
        first = path.read_bytes()
        evaluate_stylegan2.main(3)
        assert path.read_bytes() == first

    def test_samples_of_another_size_than_the_real_images_are_refused(self, folder):
        images = np.zeros((20, 8, 8, 3), dtype=np.uint8)
        save_arrays(folder / "samples/stylegan2-3.npz", images=images, untrained=images)
        with pytest.raises(UserError, match="differ in shape"):
            evaluate_stylegan2.main(3)

    @pytest.mark.parametrize("count, key", [(3, "neighbours"), (4, "splits")])
    def test_too_few_samples_are_refused_by_the_setting_that_needs_more(self, folder, count, key, monkeypatch):
        settings = SETTINGS.model_copy(update={"splits": 5})
        monkeypatch.setattr("stages.runtime.params.read", lambda *keys: ["orl", settings])
        images = np.zeros((count, 6, 6, 3), dtype=np.uint8)
        save_arrays(folder / "samples/stylegan2-3.npz", images=images, untrained=images)
        with pytest.raises(UserError, match=f"evaluation.{key} "):
            evaluate_stylegan2.main(3)
