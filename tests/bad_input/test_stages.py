"""Every stage on files that are missing, damaged, empty, of another form or of another model, and on very little data.

What can't be used ends in a UserError of one line that names the file, and leaves the folder as it was.
"""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from stages.runtime.errors import UserError
from tests.bad_input.conftest import EXTRACTOR, MNISTM, ORL, STAGES, TEST, assert_refused, call, digits, tree

pytestmark = pytest.mark.slow


def assert_runs(name: str) -> None:
    """Call the stage, which must write something."""
    before = written()
    call(name)
    assert written() - before


def written() -> set[tuple[str, int, int]]:
    """Every file below the current folder, told from one that takes its place."""
    return {(str(path), path.stat().st_ino, path.stat().st_mtime_ns) for path in Path().rglob("*") if path.is_file()}


def of_stages(part: str) -> Iterator:
    """(stage, file) for every file of one kind that a stage reads."""
    for name, stage in STAGES.items():
        for file in getattr(stage, part):
            yield pytest.param(name, file, id=f"{name}, {file}")


def of_arrays(ending: str = "") -> Iterator:
    """(stage, file, array) for every array that a stage reads."""
    for name, stage in STAGES.items():
        for file, arrays in stage.arrays.items():
            for array in arrays:
                if array.endswith(ending):
                    yield pytest.param(name, file, array, id=f"{name}, {file}, {array}")


def rewrite(file: str, **changes: np.ndarray | None) -> None:
    """Replace arrays of a file; None removes one."""
    with np.load(file, allow_pickle=False) as content:
        arrays = {**content, **changes}
    np.savez(file, **{name: array for name, array in arrays.items() if array is not None})


def array_of(file: str, name: str) -> np.ndarray:
    with np.load(file, allow_pickle=False) as content:
        return content[name]


@pytest.mark.parametrize("name", STAGES)
def test_the_stage_runs_on_what_is_whole(project, name):
    assert_runs(name)


def damage(path: Path, how: str) -> None:
    content = path.read_bytes()
    path.unlink()
    match how:
        case "empty":
            path.write_bytes(b"")
        case "truncated":
            path.write_bytes(content[: len(content) // 2])
        case "text":
            path.write_text("not this\n")
        case "a folder":
            path.mkdir()


HOW = ("missing", "empty", "truncated", "text", "a folder")


@pytest.mark.parametrize("how", HOW)
@pytest.mark.parametrize(("name", "file"), [*of_stages("arrays"), *of_stages("weights"), *of_stages("figures")])
def test_a_damaged_file_is_named(project, name, file, how):
    if "snapshots" in file and how == "missing":
        pytest.skip("how many snapshots there are is for the training to say")
    damage(Path(file), how)
    assert_refused(name, file)


@pytest.mark.parametrize(("name", "file", "array"), of_arrays())
@pytest.mark.parametrize("how", ["missing", "none", "float", "NaN", "flat", "objects"])
def test_an_array_of_another_form_is_named(project, name, file, array, how):
    good = array_of(file, array)
    changed = {
        "missing": None,
        "none": good[:0],
        "float": good.astype(np.float32),
        "NaN": np.full(good.shape, np.nan, np.float32),
        "flat": good.reshape(len(good), -1),
        "objects": np.array([{"a": 1}] * len(good), object),
    }
    rewrite(file, **{array: changed[how]})
    assert_refused(name, file)


@pytest.mark.parametrize(("name", "file", "array"), of_arrays("labels"))
def test_fewer_labels_than_images_are_refused(project, name, file, array):
    rewrite(file, **{array: array_of(file, array)[:-1]})
    assert_refused(name, file)


@pytest.mark.parametrize("label", [-1, 10, 2**40])
@pytest.mark.parametrize(("name", "file", "array"), of_arrays("labels"))
def test_labels_that_are_no_digits_are_refused(project, name, file, array, label):
    if name == "pair":
        pytest.skip("pair passes labels on; who learns from them looks at them")
    labels = array_of(file, array)
    labels[-1] = label
    rewrite(file, **{array: labels})
    assert_refused(name, file)


@pytest.mark.parametrize("side", [7, 27, 32])
@pytest.mark.parametrize(("name", "file", "array"), of_arrays("images"))
def test_images_of_another_size_are_refused(project, name, file, array, side):
    if name == "pair" or name == "train_stylegan2" and side == 32:
        pytest.skip("any size will do")
    rewrite(file, **{array: digits(len(array_of(file, array)), side)[0]})
    before = tree()
    with pytest.raises(UserError) as raised:
        call(name)
    assert "\n" not in str(raised.value).strip() and str(side) in str(raised.value)
    assert tree() == before


@pytest.mark.parametrize("how", ["another shape", "one too many", "one too few", "nothing"])
@pytest.mark.parametrize(("name", "file"), of_stages("weights"))
def test_weights_of_another_model_are_refused(project, name, file, how):
    tensors = load_file(file)
    prefix = "average." if name.startswith("sample") else ""
    first = next(key for key in sorted(tensors) if key.startswith(prefix) and tensors[key].ndim > 1)
    match how:
        case "another shape":
            tensors[first] = torch.cat([tensors[first], tensors[first]])
        case "one too many":
            tensors[f"{prefix}another.weight"] = torch.zeros(2)
        case "one too few":
            del tensors[first]
        case "nothing":
            tensors = {"else": torch.zeros(2)}
    save_file(tensors, file)
    assert_refused(name, file)


@pytest.mark.parametrize(
    "content", ["[]", "{}", "null", '"text"', '{"KEY": "much"}', '{"KEY": null}', '{"KEY": NaN}', "{" * 100_000]
)
@pytest.mark.parametrize(("name", "file"), of_stages("figures"))
def test_figures_of_another_form_are_refused(project, name, file, content):
    Path(file).write_text(content.replace("KEY", STAGES[name].figures[file]))
    assert_refused(name, file)


@pytest.mark.parametrize("how", [*HOW, "another model", "a list"])
@pytest.mark.parametrize("name", ["statistics", "evaluate_stylegan2"])
def test_an_extractor_s_damaged_weights_are_named(project, name, how):
    file = f"data/raw/{EXTRACTOR}/net.pth"
    if how in HOW:
        damage(Path(file), how)
    else:
        Path(file).unlink()
        torch.save([1] if how == "a list" else {"weight": torch.zeros(2)}, file)
    assert_refused(name, f"data/raw/{EXTRACTOR}")


@pytest.mark.parametrize("how", HOW)
def test_damaged_statistics_are_named(project, how):
    damage(Path(f"data/statistics/{EXTRACTOR}.npz"), how)
    assert_refused("evaluate_stylegan2", f"data/statistics/{EXTRACTOR}.npz")


def statistics_arrays() -> list[str]:
    with np.load(f"data/statistics/{EXTRACTOR}.npz", allow_pickle=False) as content:
        return list(content)


@pytest.mark.parametrize("how", ["missing", "NaN", "scalar"])
def test_statistics_of_another_form_are_named(project, how):
    file = f"data/statistics/{EXTRACTOR}.npz"
    whole = Path(file).read_bytes()
    for array in statistics_arrays():
        good = array_of(file, array)
        changed = {"missing": None, "NaN": np.full(good.shape, np.nan), "scalar": np.float64(1)}[how]
        if how == "scalar" and good.ndim == 0:
            continue
        rewrite(file, **{array: changed})
        assert_refused("evaluate_stylegan2", file)
        Path(file).write_bytes(whole)


# ---- small data that is whole ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["train_judge", "train_acgan", *(name for name in STAGES if name.startswith("adapt "))])
def test_one_class_alone_and_fewer_images_than_a_batch_can_be_learnt_from(project, name):
    """Batches are drawn with replacement, so that two images make a batch of four or of sixty-four."""
    for file, arrays in STAGES[name].arrays.items():
        few = {array: np.zeros_like(array_of(file, array)[:2]) for array in arrays if not array.startswith("test")}
        rewrite(file, **few)
    assert_runs(name)


def test_a_face_alone_can_be_learnt_from(project):
    rewrite(ORL, train_images=array_of(ORL, "train_images")[:1])
    assert_runs("train_stylegan2")


@pytest.mark.parametrize("count", [0, 1])
def test_too_few_real_faces_for_a_distance_are_named(project, count):
    for array in ("train_images", "test_images"):
        whole = Path(ORL).read_bytes()
        rewrite(ORL, **{array: array_of(ORL, array)[:count]})
        before = tree()
        with pytest.raises(UserError, match="orl|test images|training image|neighbours"):
            call("statistics")
        assert tree() == before
        Path(ORL).write_bytes(whole)


def test_too_few_points_for_a_layout_are_named(project):
    rewrite(TEST, test_images=array_of(TEST, "test_images")[:2], test_labels=array_of(TEST, "test_labels")[:2])
    assert_refused("embed dann", "embedding.perplexity")


def test_a_source_too_small_to_hold_some_out_is_named(project):
    rewrite(MNISTM, train_images=array_of(MNISTM, "train_images")[:1], train_labels=array_of(MNISTM, "train_labels")[:1])
    assert_refused("pair", "adaptation.images.validation")
