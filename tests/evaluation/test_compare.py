"""All figures of one comparison, what is known of the real images beforehand, and the baseline images."""

import numpy as np
import pytest

from stages.evaluation import real
from stages.evaluation.baselines import pca_gaussian
from stages.evaluation.compare import compare, renamed
from stages.evaluation.extractors import Activations
from stages.evaluation.frechet import distance, moments_of
from stages.evaluation.scores import classifier_score, kid, precision_recall
from stages.runtime.errors import UserError
from stages.runtime.images import load_arrays, save_arrays, scratch
from stages.runtime.schema import Metrics
from stages.runtime.seeding import numpy_generator

SETTINGS = Metrics(batch_size=8, neighbours=3, splits=4, kid_subsets=5, kid_subset_size=20, seed=0)
COUNTS = {"report": 20, "clean": 60}
REPORT = {
    *("fd", "fd_floor", "fd_train", "kid", "kid_std", "kid_floor"),
    *("precision", "precision_ceiling", "recall", "recall_ceiling"),
    *("cs", "cs_std", "cs_real", "n_real", "n_fake", "n_floor"),
}


def look(kind: str, images: np.ndarray, size: int = 7):
    """In an extractor's place: an image's features are its first six numbers, its logits the nine after them."""
    flat = images.reshape(len(images), -1).astype(np.float32)
    for start in range(0, len(images), size):
        part = flat[start : start + size]
        yield Activations(part[:, :6], part[:, 6:15])


def images(count: int, seed: int, shift: float = 0.0) -> np.ndarray:
    return np.random.default_rng(seed).normal(shift, 1, size=(count, 4, 4, 1)).astype(np.float32)


def activations(count: int, seed: int, shift: float = 0.0) -> Activations:
    (whole,) = look("", images(count, seed, shift), count)
    return whole


def measured(train: int = 90, counts: dict[str, int] = COUNTS) -> real.Real:
    return real.measure("tiny", look, images(train, 1), images(40, 0), images(60, 4, 3), counts, SETTINGS)


@pytest.fixture(scope="module")
def faces() -> real.Real:
    return measured()


def test_every_figure_is_there_and_a_number(faces):
    report = compare(activations(20, 2, 1), faces, "report", SETTINGS)
    untrained = moments_of(activations(60, 3, 9).features)
    clean = compare(activations(60, 2, 1), faces, "clean", SETTINGS, untrained)
    assert report.keys() == REPORT
    assert clean.keys() == REPORT | {"fd_untrained", "fd_pca"}
    assert all(np.isfinite(value) for figures in (report, clean) for value in figures.values())


def test_each_protocol_has_its_own_numbers_of_images(faces):
    for protocol, count in COUNTS.items():
        figures = compare(activations(count, 2, 1), faces, protocol, SETTINGS)
        assert (figures["n_real"], figures["n_fake"], figures["n_floor"]) == (40, count, count)


def test_the_distances_order_the_sets_as_they_were_made(faces):
    untrained = moments_of(activations(60, 3, 9).features)
    figures = compare(activations(60, 2, 1), faces, "clean", SETTINGS, untrained)
    assert figures["fd_floor"] < figures["fd"] < figures["fd_pca"] < figures["fd_untrained"]
    assert figures["kid_floor"] < figures["kid"]


def test_samples_are_compared_with_the_test_and_with_the_training_images(faces):
    fake = activations(20, 2, 1)
    figures = compare(fake, faces, "report", SETTINGS)
    samples = moments_of(fake.features)
    assert figures["fd"] == pytest.approx(distance(samples, moments_of(activations(40, 0).features)))
    assert figures["fd_train"] == pytest.approx(distance(samples, moments_of(activations(90, 1).features)))


def test_the_floor_of_a_protocol_puts_drawn_training_images_in_the_samples_place(faces):
    for protocol, count in COUNTS.items():
        drawn = activations(90, 1).features[real.draw(90, count, SETTINGS.seed)]
        test = activations(40, 0).features
        assert faces.figures[protocol]["fd_floor"] == pytest.approx(distance(moments_of(drawn), moments_of(test)))
        expected, _ = kid(test, drawn, subsets=5, size=20, generator=numpy_generator(0, "kid"))
        assert faces.figures[protocol]["kid_floor"] == pytest.approx(expected)
        ceilings = [faces.figures[protocol][f"{name}_ceiling"] for name in ("precision", "recall")]
        assert ceilings == pytest.approx(precision_recall(test, drawn, SETTINGS.neighbours))
    assert faces.figures["report"]["fd_floor"] > faces.figures["clean"]["fd_floor"]


def test_no_training_image_is_drawn_twice():
    assert sorted(real.draw(30, 30, 0)) == list(range(30))


def test_the_floor_never_takes_more_training_images_than_there_are():
    few = measured(train=30)
    assert {protocol: figures["n_floor"] for protocol, figures in few.figures.items()} == {"report": 20, "clean": 30}


def test_the_score_of_the_test_images_is_taken_in_parts_as_large_as_the_samples(faces):
    for protocol, splits in {"report": 8, "clean": 3}.items():
        expected, _ = classifier_score(activations(40, 0).logits, splits=splits, generator=numpy_generator(0, "score"))
        assert faces.figures[protocol]["cs_real"] == pytest.approx(expected)


def test_the_parts_in_which_images_come_change_nothing(faces):
    whole = real.measure(
        "tiny",
        lambda kind, images: look(kind, images, len(images)),
        *(images(90, 1), images(40, 0), images(60, 4, 3), COUNTS, SETTINGS),
    )
    assert np.array_equal(whole.features, faces.features)
    np.testing.assert_allclose(whole.train.covariance, faces.train.covariance, atol=1e-12)
    for protocol in COUNTS:
        assert whole.figures[protocol] == pytest.approx(faces.figures[protocol])


def test_features_lie_on_disk_in_files_that_are_gone_with_the_process(tmp_path, monkeypatch):
    made = []
    monkeypatch.setattr(real, "scratch", lambda *arguments: made.append(scratch(*arguments)) or made[-1])
    measured = real.measure("tiny", look, images(90, 1), images(40, 0), images(60, 4, 3), COUNTS, SETTINGS, tmp_path)
    assert isinstance(measured.features, np.memmap)
    assert sorted(array.shape for array in made) == [(20, 6), (60, 6)] and all(type(array) is np.memmap for array in made)
    assert not list(tmp_path.iterdir())


def test_the_same_activations_give_the_same_figures(faces):
    fake = activations(20, 2)
    assert compare(fake, faces, "report", SETTINGS) == compare(fake, measured(), "report", SETTINGS)


def test_the_names_of_distance_and_score_follow_the_extractor():
    figures = {"fd": 1, "fd_floor": 2, "cs": 3, "cs_std": 4, "kid_std": 5, "n_fake": 6}
    assert renamed(figures, "fid", "is") == {"fid": 1, "fid_floor": 2, "is": 3, "is_std": 4, "kid_std": 5, "n_fake": 6}
    assert renamed(figures, "fd", "is_torchvision").keys() >= {"fd", "is_torchvision", "is_torchvision_std"}
    assert renamed(figures, "fd", "cs") == figures


def test_what_is_written_is_what_is_read(faces, tmp_path):
    real.save(tmp_path / "tiny.npz", faces)
    read = real.load(tmp_path / "tiny.npz", "tiny")
    assert (read.extractor, read.shape, read.figures) == (faces.extractor, faces.shape, faces.figures)
    assert all(type(value) is int for figures in read.figures.values() for value in (figures["n_fake"], figures["n_floor"]))
    assert np.array_equal(read.features, faces.features) and read.features.dtype == np.float32
    assert read.train.count == 90 and np.array_equal(read.train.covariance, faces.train.covariance)
    assert np.array_equal(read.train.mean, faces.train.mean)


def test_statistics_of_another_extractor_are_refused(faces, tmp_path):
    real.save(tmp_path / "inception.npz", faces)
    with pytest.raises(UserError, match="made by the extractor tiny, not by inception"):
        real.load(tmp_path / "inception.npz", "inception")


@pytest.mark.parametrize("missing", ["test_features", "report_fd_floor", "clean_fd_pca", "train_covariance"])
def test_statistics_that_lack_something_are_refused_by_its_name(faces, tmp_path, missing):
    real.save(tmp_path / "tiny.npz", faces)
    with np.load(tmp_path / "tiny.npz") as file:
        arrays = {name: file[name] for name in file.files if name != missing}
    save_arrays(tmp_path / "tiny.npz", **arrays)
    with pytest.raises(UserError, match=missing):
        real.load(tmp_path / "tiny.npz", "tiny")


def test_statistics_hold_no_number_that_is_none(faces, tmp_path):
    real.save(tmp_path / "tiny.npz", faces)
    with np.load(tmp_path / "tiny.npz") as file:
        arrays = {name: file[name] for name in file.files}
    arrays["train_mean"] = arrays["train_mean"] * np.nan
    save_arrays(tmp_path / "tiny.npz", **arrays)
    with pytest.raises(UserError, match="train_mean holds NaN"):
        real.load(tmp_path / "tiny.npz", "tiny")
    assert load_arrays(tmp_path / "tiny.npz", "train_count")


@pytest.mark.parametrize(
    ("n_real", "counts", "message"),
    [
        (40, {"report": 3, "clean": 60}, r"metrics\.neighbours is 3, too many for 3 images \(report\)"),
        (3, {"report": 20, "clean": 60}, r"metrics\.neighbours is 3, too many for 3 images"),
        (40, {"report": 20, "clean": 4}, r"metrics\.splits is 5, too many for 4 samples \(clean\)"),
    ],
)
def test_too_few_images_are_refused_by_the_setting_that_needs_more(n_real, counts, message):
    settings = SETTINGS.model_copy(update={"splits": 5})
    with pytest.raises(UserError, match=message):
        real.check(n_real, counts, settings)
    real.check(4, {"report": 5, "clean": 5}, settings)


def test_the_baseline_has_the_mean_and_covariance_of_its_leading_components():
    generator = np.random.default_rng(0)
    pattern = generator.normal(size=(2, 4 * 4 * 3))
    pixels = 128 + generator.normal(size=(500, 2)) @ pattern * 10
    images = pixels.round().clip(0, 255).astype(np.uint8).reshape(500, 4, 4, 3)
    drawn = np.empty((4000, 4, 4, 3), np.uint8)
    pca_gaussian(images, drawn, generator=np.random.default_rng(1), components=2)
    real, fake = (array.reshape(len(array), -1).astype(float) for array in (images, drawn))
    assert np.abs(real.mean(axis=0) - fake.mean(axis=0)).max() < 2
    spread = np.linalg.norm(np.cov(real, rowvar=False))
    assert np.linalg.norm(np.cov(real, rowvar=False) - np.cov(fake, rowvar=False)) < 0.1 * spread


def test_the_baseline_does_without_some_components_where_images_are_few():
    images = np.random.default_rng(0).integers(0, 256, (5, 4, 4, 3), dtype=np.uint8)
    drawn = np.zeros((7, 4, 4, 3), np.uint8)
    pca_gaussian(images, drawn, generator=np.random.default_rng(0))
    assert len(np.unique(drawn, axis=0)) == 7


def test_the_baseline_does_not_depend_on_the_blocks_in_which_it_is_drawn(monkeypatch):
    images = np.random.default_rng(0).integers(0, 256, (50, 4, 4, 3), dtype=np.uint8)
    whole, parts = np.zeros((2, 30, 4, 4, 3), np.uint8)
    pca_gaussian(images, whole, generator=np.random.default_rng(1))
    monkeypatch.setattr("stages.runtime.images.BLOCK_BYTES", 7 * 48)
    pca_gaussian(images, parts, generator=np.random.default_rng(1))
    # Products of fewer rows may round the last bit otherwise.
    assert (whole != parts).mean() < 0.01 and np.abs(whole.astype(int) - parts).max() <= 1
