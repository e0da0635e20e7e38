"""Every stage on inputs that are missing, damaged, empty, of another form or of another model.

Each ends in a UserError of one line that names the file, and leaves the folder as it was.
"""

import copy
import hashlib
import importlib
import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
import torch
import yaml
from safetensors.torch import load_file, save_file

from stages.runtime.errors import UserError

ROOT = Path(__file__).resolve().parents[2]
PAIR = "mnistm-mfeat"
ORL, MNISTM, MFEAT = (f"data/prepared/{name}.npz" for name in ("orl", "mnistm", "mfeat"))
TRAIN, TARGET, TEST = (f"data/pairs/{PAIR}/{name}.npz" for name in ("train", "target", "test"))
EXTRACTOR = "efficientnet_lite0"

pytestmark = pytest.mark.slow


class Stage(NamedTuple):
    """A stage's module and words, the arrays that it reads by file, and the other files that it reads."""

    module: str
    words: tuple = ()
    arrays: dict[str, tuple[str, ...]] = {}
    weights: tuple[str, ...] = ()
    figures: dict[str, str] = {}


SPLIT = ("train_images", "train_labels")
BOTH = (*SPLIT, "test_images", "test_labels")
SOURCE = ("source_images", "source_labels")
JUDGE, ACGAN, FACES = (f"models/{run}/weights.safetensors" for run in ("judge", "acgan-0", "stylegan2-0"))

STAGES = {
    "pair": Stage("data.pair", (PAIR,), {MNISTM: BOTH, MFEAT: BOTH}),
    "train_stylegan2": Stage("generation.train_stylegan2", (0,), {ORL: ("train_images",)}),
    "sample_stylegan2": Stage("generation.sample_stylegan2", (0,), weights=(FACES,)),
    "statistics": Stage("evaluation.statistics", (EXTRACTOR,), {ORL: ("train_images", "test_images")}),
    "evaluate_stylegan2": Stage(
        "evaluation.evaluate_stylegan2",
        (0, EXTRACTOR),
        {"samples/stylegan2-0.npz": ("report_images", "clean_images", "untrained_images")},
    ),
    "train_judge": Stage("evaluation.train_judge", (), {MNISTM: BOTH}),
    "train_acgan": Stage("generation.train_acgan", (0,), {MNISTM: SPLIT}),
    "sample_acgan": Stage("generation.sample_acgan", (0,), weights=(ACGAN,)),
    "evaluate_acgan": Stage(
        "evaluation.evaluate_acgan",
        (0,),
        {"samples/acgan-0.npz": ("images", "labels")},
        (JUDGE,),
        {"results/judge/evaluation.json": "test_accuracy"},
    ),
    "adapt source_only": Stage("adaptation.train", (PAIR, "source_only", 0), {TRAIN: SOURCE}),
    "adapt dann": Stage("adaptation.train", (PAIR, "dann", 0), {TRAIN: (*SOURCE, "target_images")}),
    "adapt dsn": Stage("adaptation.train", (PAIR, "dsn", 0), {TRAIN: (*SOURCE, "target_images")}),
    "adapt target_only": Stage("adaptation.train", (PAIR, "target_only", 0), {TARGET: SPLIT}),
    "evaluate dann": Stage(
        "adaptation.evaluate",
        (PAIR, "dann", 0),
        {TEST: ("test_images", "test_labels"), TRAIN: ("validation_images", "validation_labels")},
        (f"models/{PAIR}-dann-0/weights.safetensors", f"models/{PAIR}-dann-0/snapshots/000002.safetensors"),
    ),
    "embed dann": Stage(
        "adaptation.embed",
        (PAIR, "dann"),
        {TEST: ("test_images", "test_labels", "source_test_images", "source_test_labels")},
        (f"models/{PAIR}-dann-0/weights.safetensors",),
    ),
    "sample new faces": Stage("generation.sample", ("stylegan2-0",), weights=(FACES,)),
    "sample new digits": Stage("generation.sample", ("acgan-0",), weights=(ACGAN,)),
    # It takes the numbers of parameters from the weights, whatever they are.
    "card judge": Stage("report.card", ("judge",), figures={"results/judge/evaluation.json": "test_accuracy"}),
}
# In which order they make what the later ones read.
ORDER = ["pair", "train_stylegan2", "sample_stylegan2", "statistics", "train_judge", "train_acgan", "sample_acgan", "adapt dann"]
FACES_OF_ANY_FORM = ("statistics",)


def digits(count: int, side: int = 28, classes: int = 10) -> tuple[np.ndarray, np.ndarray]:
    labels = np.arange(count, dtype=np.int64) % classes
    return np.random.default_rng(0).integers(0, 256, (count, side, side, 3)).astype(np.uint8), labels


def write_prepared(name: str, train: int, test: int, **form: int) -> None:
    arrays = {}
    for split, count in (("train", train), ("test", test)):
        arrays[f"{split}_images"], arrays[f"{split}_labels"] = digits(count, **form)
    Path("data/prepared").mkdir(parents=True, exist_ok=True)
    np.savez(f"data/prepared/{name}.npz", **arrays)


def tiny_params() -> dict:
    content = yaml.safe_load((ROOT / "presets/smoke.yaml").read_text())
    content["stylegan2"]["train"] |= {"steps": 2, "snapshots": 1, "batch_size": 4, "accumulation": 1}
    content["stylegan2"]["sample"] |= {"report": {"count": 8, "psi": 0.75}, "clean": {"count": 8, "psi": 1.0}}
    content["acgan"]["train"] |= {"steps": 2, "snapshots": 1}
    content["acgan"]["sample"]["per_class"] = 2
    content["judge"]["steps"] = 2
    adaptation = content["adaptation"]
    adaptation["pairs"][PAIR] |= {"max_source": None, "max_target": None}
    adaptation["common"] |= {"batch_size": 4, "snapshots": 1, "precision": "fp32"}
    for method in ("source_only", "target_only", "dann", "dsn"):
        adaptation[method]["steps"] = 2
    adaptation["dann"]["lambda_steps"] = 2
    adaptation["dsn"] |= {"lambda_steps": 2, "similarity_start": 1}
    content["embedding"] |= {"points": 40, "perplexity": 5.0}
    return content


def write_extractor() -> None:
    from efficientnet_lite_pytorch import EfficientNet

    folder = Path("data/raw") / EXTRACTOR
    folder.mkdir(parents=True)
    torch.manual_seed(0)
    torch.save(EfficientNet.from_name("efficientnet-lite0").state_dict(), folder / "net.pth")


def call(name: str) -> None:
    stage = STAGES[name]
    importlib.import_module(f"stages.{stage.module}").main(*stage.words)


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Path:
    """A folder with everything that each stage reads, made by the stages themselves from made-up images."""
    folder = tmp_path_factory.mktemp("made")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        Path("params.yaml").write_text(yaml.safe_dump(tiny_params()))
        write_prepared("orl", 24, 12, side=16)
        write_prepared("mnistm", 60, 40)
        write_prepared("mfeat", 60, 40)
        write_extractor()
        for name in ORDER:
            call(name)
    return folder


@pytest.fixture
def project(made, tmp_path, monkeypatch) -> Path:
    """A copy of that folder for one test to damage; it is the current folder."""
    # The extractor's weights are large: the same file under another name, which a test replaces and never writes to.
    folder = Path(shutil.copytree(made, tmp_path / "project", copy_function=_copy))
    monkeypatch.chdir(folder)
    return folder


def _copy(source: str, target: str) -> None:
    (os.link if source.endswith(".pth") else shutil.copy)(source, target)


def tree() -> dict[str, str]:
    """Every file below the current folder and the hash of its content; folders too."""
    paths = sorted(Path().rglob("*"))
    return {str(path): hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else "folder" for path in paths}


def assert_refused(name: str, file: str, *words: str) -> str:
    """Call the stage; the message of the UserError that it must end in, having changed nothing."""
    before = tree()
    with pytest.raises(UserError) as raised:
        call(name)
    message = " ".join(str(raised.value).split())
    assert file in message, message
    assert all(word in message for word in words), message
    assert len(message) < 500, message
    assert tree() == before
    return message


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


@pytest.mark.parametrize(
    "name", ["train_judge", "train_acgan", "adapt source_only", "adapt dann", "adapt dsn", "adapt target_only"]
)
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


# ---- words and params ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("module", "words", "hint"),
    [
        ("data.fetch", ("mnist",), "did you mean 'mnistm'?"),
        ("data.prepare", ("mnist",), "did you mean 'mnistm'?"),
        ("data.prepare", ("copy",), "'copy'"),
        ("data.import_folder", ("mine",), "'mine'"),
        ("data.pair", ("mnistm-mfea",), f"did you mean '{PAIR}'?"),
        ("data.pair", ("../../etc",), "'"),
        ("adaptation.train", ("mnistm-mfea", "dann", 0), f"did you mean '{PAIR}'?"),
        ("adaptation.train", (PAIR, "dan", 0), "did you mean 'dann'?"),
        ("adaptation.evaluate", (PAIR, "dan", 0), "did you mean 'dann'?"),
        ("adaptation.embed", (PAIR, "dan"), "did you mean 'dann'?"),
        ("evaluation.statistics", ("inceptoin",), "did you mean 'inception'?"),
        ("evaluation.evaluate_stylegan2", (0, "inceptoin"), "inceptoin"),
        ("generation.sample", ("acgan-O",), "did you mean 'acgan-0'?"),
        ("adaptation.predict", (f"{PAIR}-dan-0", "."), f"did you mean '{PAIR}-dann-0'?"),
        ("report.card", ("juge",), "'juge' is no run"),
    ],
)
def test_an_unknown_word_is_answered_with_the_nearest(project, module, words, hint):
    before = tree()
    with pytest.raises(UserError) as raised:
        importlib.import_module(f"stages.{module}").main(*words)
    assert hint in str(raised.value)
    assert tree() == before


READERS = sorted(
    {stage.module: stage for stage in STAGES.values() if stage.module not in ("adaptation.evaluate", "evaluation.evaluate_acgan")}
)


@pytest.mark.parametrize("module", READERS)
def test_wrong_params_stop_a_stage_before_it_reads_or_writes(project, module):
    content = copy.deepcopy(tiny_params())
    content["judge"]["steps"] = "many"
    Path("params.yaml").write_text(yaml.safe_dump(content))
    shutil.rmtree("data")
    name = next(name for name, stage in STAGES.items() if stage.module == module)
    assert_refused(name, "params.yaml: judge.steps: is 'many'; must be a whole number")


def test_the_command_line_says_it_in_one_line(project, monkeypatch, capsys):
    from stages.evaluation import evaluate_acgan
    from stages.runtime import stage

    Path("results/judge/evaluation.json").write_text(json.dumps({}))
    monkeypatch.setattr("sys.argv", ["evaluate_acgan", "0"])
    monkeypatch.setattr(stage.interruption, "end_with_dvc", lambda: None)
    monkeypatch.setattr(stage.interruption, "raise_interrupted", lambda: None)
    before = tree()
    with pytest.raises(SystemExit) as ended:
        stage.run(evaluate_acgan.main)
    assert str(ended.value).startswith("error: results/judge/evaluation.json") and "\n" not in str(ended.value)
    assert tree() == before
