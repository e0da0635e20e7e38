"""The stages on a tiny pair of made digits: files in, files out."""

import csv
import json
import shutil
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
import yaml

from stages.adaptation import embed, evaluate, selection, train
from stages.adaptation.method import METHODS, in_batches, named
from stages.runtime import parallel
from stages.runtime.errors import UserError
from stages.runtime.images import load_arrays, save_arrays
from stages.runtime.weights import read_weights
from tests.parallel.together import TRAINING, together

ROOT = Path(__file__).resolve().parents[2]
PAIR = "syn-mnistm"
STEPS = 6


def digits(count, seed):
    """Images (count, 28, 28, 3) and labels (count,): the digit tells where a bright bar stands, so that it can be learnt."""
    generator = np.random.default_rng(seed)
    labels = np.arange(count, dtype=np.int64) % 10
    images = generator.integers(0, 80, (count, 28, 28, 3)).astype(np.uint8)
    for image, label in zip(images, labels, strict=True):
        image[:, 2 * label + 2 : 2 * label + 6] = 255
    return images, labels


@pytest.fixture(autouse=True)
def project(tmp_path, monkeypatch):
    """A working directory with params.yaml and one pair."""
    content = yaml.safe_load((ROOT / "presets/laptop.yaml").read_text())
    adaptation = content["adaptation"]
    adaptation["seeds"] = [3]
    adaptation["common"] |= {"batch_size": 10, "snapshots": 3, "precision": "fp32"}
    for method in METHODS:
        adaptation[method]["steps"] = STEPS
    adaptation["dann"]["lambda_steps"] = adaptation["dsn"]["lambda_steps"] = STEPS
    adaptation["dsn"]["similarity_start"] = 2
    content["embedding"] |= {"points": 40, "perplexity": 5.0}
    monkeypatch.chdir(tmp_path)
    Path("params.yaml").write_text(yaml.safe_dump(content))
    write_pair()
    return tmp_path


def write_pair():
    folder = Path("data/pairs") / PAIR
    source, validation, target = digits(60, 0), digits(20, 1), digits(40, 2)
    save_arrays(
        folder / "train.npz",
        source_images=source[0],
        source_labels=source[1],
        validation_images=validation[0],
        validation_labels=validation[1],
        target_images=target[0],
    )
    save_arrays(folder / "target.npz", train_images=target[0], train_labels=target[1])
    test, source_test = digits(50, 3), digits(90, 4)
    save_arrays(
        folder / "test.npz",
        test_images=test[0],
        test_labels=test[1],
        source_test_images=source_test[0],
        source_test_labels=source_test[1],
    )


@pytest.mark.parametrize("method", METHODS)
def test_training_writes_weights_snapshots_and_history_and_leaves_no_resume_state(method):
    train.main(PAIR, method, 3)
    models = Path("models") / f"{PAIR}-{method}-3"
    assert sorted(path.name for path in (models / "snapshots").iterdir()) == [f"{step:06d}.safetensors" for step in (2, 4, 6)]
    last, final = read_weights(models / "snapshots/000006.safetensors"), read_weights(models / "weights.safetensors")
    assert all(torch.equal(last[key], final[key]) for key in final)
    with Path(f"results/{PAIR}-{method}-3/history.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["step"] for row in rows] == [str(step) for step in range(1, STEPS + 1)]
    assert "class_loss" in rows[0]
    assert not list(Path(".resume").glob("*"))


@pytest.mark.parametrize("method", ["dann", "dsn"])
def test_training_twice_gives_the_same_bytes(method):
    contents = []
    for _ in range(2):
        train.main(PAIR, method, 3)
        files = sorted(path for folder in ("models", "results") for path in Path(folder).rglob("*.*") if path.is_file())
        contents.append([path.read_bytes() for path in files])
        shutil.rmtree("models")
        shutil.rmtree("results")
    assert contents[0] == contents[1]


@pytest.mark.parametrize("method", [name for name in METHODS if name != "target_only"])
def test_adapting_methods_train_without_any_target_label(method):
    (Path("data/pairs") / PAIR / "target.npz").unlink()
    (Path("data/pairs") / PAIR / "test.npz").unlink()
    train.main(PAIR, method, 3)
    path, arrays = train.load_training(PAIR, method)
    assert path.name == "train.npz"
    assert sum(array is not None and array.dtype == np.int64 for array in arrays) == 1


def test_only_the_bound_reads_target_labels():
    (Path("data/pairs") / PAIR / "train.npz").unlink()
    train.main(PAIR, "target_only", 3)
    _, (images, labels, target) = train.load_training(PAIR, "target_only")
    expected = load_arrays(Path("data/pairs") / PAIR / "target.npz", "train_images", "train_labels")
    assert np.array_equal(images, expected[0])
    assert np.array_equal(labels, expected[1])
    assert target is None


def test_source_augmentation_is_for_source_images():
    for name, augmented in [("source_only", True), ("target_only", False)]:
        weights = []
        for augmentation in ("none", "jitter"):
            content = yaml.safe_load(Path("params.yaml").read_text())
            content["adaptation"]["pairs"][PAIR]["source_augment"] = augmentation
            Path("params.yaml").write_text(yaml.safe_dump(content))
            train.main(PAIR, name, 3)
            weights.append(read_weights(Path("models") / f"{PAIR}-{name}-3" / "weights.safetensors")["class_head.3.weight"])
        assert torch.equal(*weights) != augmented


def test_evaluation_counts_the_whole_target_test_split_and_scores_every_snapshot():
    train.main(PAIR, "dann", 3)
    evaluate.main(PAIR, "dann", 3)
    content = json.loads(Path(f"results/{PAIR}-dann-3/evaluation.json").read_text())
    added = ["source_validation_accuracy", "proxy_a_distance", "curve", "selection"]
    assert list(content) == ["accuracy", "per_class", "confusion", "n", *added]
    assert content["n"] == 50
    assert np.sum(content["confusion"], axis=1).tolist() == [5] * 10
    assert content["accuracy"] == np.trace(content["confusion"]) / 50
    assert [point["step"] for point in content["curve"]] == [2, 4, 6]
    assert content["curve"][-1]["accuracy"] == content["accuracy"]
    assert 0 <= content["source_validation_accuracy"] <= 1


def test_the_final_weights_are_scored_once_and_every_other_snapshot_by_itself(monkeypatch):
    train.main(PAIR, "dann", 3)
    counts, predictions = [], evaluate.predictions
    monkeypatch.setattr(evaluate, "predictions", lambda model, images: counts.append(len(images)) or predictions(model, images))
    evaluate.main(PAIR, "dann", 3)
    validation = len(load_arrays(f"data/pairs/{PAIR}/train.npz", "validation_labels")[0])
    assert counts == [50, validation, 50, 50]
    folder, known = Path("models") / f"{PAIR}-dann-3", json.loads(Path(f"results/{PAIR}-dann-3/evaluation.json").read_text())
    (folder / "weights.safetensors").write_bytes((folder / "snapshots/000002.safetensors").read_bytes())
    evaluate.main(PAIR, "dann", 3)
    content = json.loads(Path(f"results/{PAIR}-dann-3/evaluation.json").read_text())
    assert content["accuracy"] == known["curve"][0]["accuracy"]
    assert content["curve"] == known["curve"]


def change(group, **values):
    content = yaml.safe_load(Path("params.yaml").read_text())
    content["adaptation"][group] |= values
    Path("params.yaml").write_text(yaml.safe_dump(content))


def evaluation(method):
    evaluate.main(PAIR, method, 3)
    return json.loads(Path(f"results/{PAIR}-{method}-3/evaluation.json").read_text())


@pytest.mark.parametrize("step", [2, 4, 6])
def test_a_rule_s_snapshot_becomes_the_model_without_any_target_label(step, monkeypatch, capsys):
    """Whatever the scores are, so that each step is taken once."""
    given = iter([{rule: float(at == step) for rule in selection.RULES[1:]} for at in (2, 4, 6)] * 2)
    judged_by = []
    monkeypatch.setattr(selection, "scores", lambda model, images: judged_by.append(images) or next(given))
    change("common", selection="target_entropy")
    hidden = Path("data/pairs") / PAIR
    for name in ("target.npz", "test.npz"):
        (hidden / name).rename(name)
    train.main(PAIR, "dann", 3)
    assert f"{PAIR}-dann-3: target_entropy takes step {step}" in capsys.readouterr().err
    models = Path("models") / f"{PAIR}-dann-3"
    assert (models / "weights.safetensors").read_bytes() == (models / f"snapshots/{step:06d}.safetensors").read_bytes()
    Path("test.npz").rename(hidden / "test.npz")
    content = evaluation("dann")
    accuracies = {point["step"]: point["accuracy"] for point in content["curve"]}
    assert content["accuracy"] == accuracies[step]
    assert content["selection"]["target_entropy"] == {"step": step, "regret": max(accuracies.values()) - accuracies[step]}
    assert content["selection"]["last"] == {"step": 6, "regret": max(accuracies.values()) - accuracies[6]}
    (training_images,) = load_arrays(hidden / "train.npz", "target_images")
    assert len(judged_by) == 6 and all(np.array_equal(images, training_images) for images in judged_by)


def test_training_and_evaluation_choose_alike():
    change("common", selection="soft_neighbourhood_density")
    train.main(PAIR, "dann", 3)
    step = evaluation("dann")["selection"]["soft_neighbourhood_density"]["step"]
    models = Path("models") / f"{PAIR}-dann-3"
    assert (models / "weights.safetensors").read_bytes() == (models / f"snapshots/{step:06d}.safetensors").read_bytes()


def train_in_float64():
    torch.set_default_dtype(torch.float64)
    torch.Tensor.float = torch.Tensor.double
    train.main(PAIR, "dann", 3)


def test_two_processes_choose_the_snapshot_that_one_would_and_it_has_the_same_weights():
    change("common", selection="soft_neighbourhood_density")
    models, taken, weights = Path("models") / f"{PAIR}-dann-3", [], []
    for count in (1, 2):
        assert together(count, train_in_float64) == [None] * count
        content = (models / "weights.safetensors").read_bytes()
        taken.append([path.stem for path in (models / "snapshots").iterdir() if path.read_bytes() == content])
        weights.append(read_weights(models / "weights.safetensors"))
    assert taken == [["000002"]] * 2
    alone, shared = weights
    assert alone.keys() == shared.keys()
    for name, tensor in alone.items():
        torch.testing.assert_close(shared[name], tensor, rtol=1e-8, atol=1e-8, msg=lambda text, name=name: f"{name}: {text}")


@pytest.mark.parametrize("method", ["source_only", "target_only"])
def test_without_unlabelled_target_images_the_last_step_is_taken(method):
    change("common", selection="target_entropy")
    train.main(PAIR, method, 3)
    models = Path("models") / f"{PAIR}-{method}-3"
    assert (models / "weights.safetensors").read_bytes() == (models / "snapshots/000006.safetensors").read_bytes()
    assert list(evaluation(method)["selection"]) == ["last"]


def test_without_snapshots_there_is_no_choice():
    change("common", snapshots=0)
    train.main(PAIR, "dann", 3)
    content = evaluation("dann")
    assert content["curve"] == [] and content["selection"] == {}


def test_regret_is_what_the_best_snapshot_has_more():
    curve = [{"step": 1, "accuracy": 0.25}, {"step": 2, "accuracy": 0.75}, {"step": 3, "accuracy": 0.5}]
    scored = {step: {"confident_share": -step} for step in (1, 2, 3)}
    assert evaluate.choice(curve, scored, "confident_share") == {"step": 1, "regret": 0.5}
    assert evaluate.choice(curve, scored, "last") == {"step": 3, "regret": 0.25}


def test_the_proxy_distance_is_0_for_one_domain_and_2_for_two():
    codes = np.random.default_rng(0).normal(size=(4, 400, 5)).astype(np.float32)
    codes[2] += 100
    assert abs(evaluate.proxy_a_distance(codes[0], codes[1], 0)) < 0.3
    assert evaluate.proxy_a_distance(codes[0], codes[2], 0) == 2.0
    # Two normal distributions one deviation apart in each of 4 directions: the best of all errs in 16 %.
    codes[3] += np.array([1, 1, 1, 1, 0])
    assert evaluate.proxy_a_distance(codes[0], codes[3], 0) == pytest.approx(2 * (1 - 2 * 0.159), abs=0.2)
    assert evaluate.proxy_a_distance(codes[0], codes[3], 0) == evaluate.proxy_a_distance(codes[0], codes[3], 0)
    assert evaluate.proxy_a_distance(codes[0], codes[2][:1], 0) is None


def test_the_proxy_distance_is_of_codes_that_its_classifier_has_not_seen():
    """Any 200 codes of 300 features can be told apart; of one domain, others can't."""
    source, target = (np.random.default_rng(seed).normal(size=(count, 300)) for seed, count in ((0, 200), (1, 350)))
    assert abs(evaluate.proxy_a_distance(source, target[:200], 0)) < 0.6
    assert abs(evaluate.proxy_a_distance(source, target, 0)) < 0.6


def test_labelled_images_for_tuning_are_scored_by_themselves():
    train.main(PAIR, "dann", 3)
    known = evaluation("dann")
    change("images", oracle_dev=50)
    with pytest.raises(UserError, match=r"test\.npz has no array 'oracle_dev_images'"):
        evaluation("dann")
    path = Path("data/pairs") / PAIR / "test.npz"
    arrays = dict(np.load(path))
    save_arrays(path, **arrays, oracle_dev_images=arrays["test_images"], oracle_dev_labels=(arrays["test_labels"] + 1) % 10)
    content = evaluation("dann")
    wrong = np.roll(np.array(known["confusion"]), 1, axis=0)
    assert content.pop("oracle_dev_accuracy") == np.trace(wrong) / 50
    assert content == known


def test_a_trained_bound_knows_its_target():
    content = yaml.safe_load(Path("params.yaml").read_text())
    content["adaptation"]["target_only"]["steps"] = 60
    Path("params.yaml").write_text(yaml.safe_dump(content))
    train.main(PAIR, "target_only", 3)
    evaluate.main(PAIR, "target_only", 3)
    assert json.loads(Path(f"results/{PAIR}-target_only-3/evaluation.json").read_text())["accuracy"] > 0.9


@pytest.mark.parametrize("method", ["source_only", "target_only"])
def test_weights_with_a_domain_head_are_scored_and_laid_out_like_any(method):
    content = yaml.safe_load(Path("params.yaml").read_text())
    content["adaptation"][method]["lambda_steps"] = STEPS
    Path("params.yaml").write_text(yaml.safe_dump(content))
    train.main(PAIR, method, 3)
    weights = read_weights(Path("models") / f"{PAIR}-{method}-3/weights.safetensors")
    assert {name.split(".")[0] for name in weights} == {"encoder", "class_head", "domain_head"}
    evaluate.main(PAIR, method, 3)
    judged = json.loads(Path(f"results/{PAIR}-{method}-3/evaluation.json").read_text())
    assert judged["curve"][-1]["accuracy"] == judged["accuracy"]
    embed.main(PAIR, method)
    assert Path(f"results/{PAIR}-{method}/embedding.csv").exists()


def test_embedding_has_equally_many_points_of_each_digit_and_domain():
    train.main(PAIR, "dsn", 3)
    embed.main(PAIR, "dsn")
    path = Path(f"results/{PAIR}-dsn/embedding.csv")
    first = path.read_bytes()
    with path.open() as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == ["index", "label", "prediction", "domain", "x", "y"]
    test = Path("data/pairs") / PAIR / "test.npz"
    for domain, name in (("source", "source_test_labels"), ("target", "test_labels")):
        (labels,) = load_arrays(test, name)
        points = [row for row in rows if row["domain"] == domain]
        assert [sum(row["label"] == str(digit) for row in points) for digit in range(10)] == [4] * 10
        assert all(int(row["label"]) == labels[int(row["index"])] for row in points)
        assert len({row["index"] for row in points}) == 40
    embed.main(PAIR, "dsn")
    assert path.read_bytes() == first


def test_embedding_has_each_image_s_own_code_and_prediction(monkeypatch):
    train.main(PAIR, "dann", 3)
    monkeypatch.setattr(embed, "layout", lambda codes, perplexity, seed: codes[:, :2])
    embed.main(PAIR, "dann")
    model = named("dann")()
    model.load_state_dict(read_weights(Path("models") / f"{PAIR}-dann-3/weights.safetensors"))
    table = pd.read_csv(f"results/{PAIR}-dann/embedding.csv")
    test = Path("data/pairs") / PAIR / "test.npz"
    for domain, name in (("source", "source_test_images"), ("target", "test_images")):
        rows = table[table.domain == domain]
        images = load_arrays(test, name)[0][rows["index"]]
        codes, logits = (in_batches(call, images) for call in (model.embed, model.predict))
        np.testing.assert_allclose(rows[["x", "y"]], codes[:, :2], atol=1e-4)
        assert rows.prediction.tolist() == logits.argmax(dim=1).tolist()
    assert table[["x", "y"]].drop_duplicates().shape[0] > 40


def test_points_are_no_more_than_both_domains_have():
    labels = {"source": np.array([0, 0, 0, 1, 1, 2]), "target": np.array([0, 1, 1, 1, 3, 3, 0])}
    picks = embed.stratified_pair(labels, 30, seed=0)
    assert {domain: sorted(labels[domain][index].tolist()) for domain, index in picks.items()} == {
        "source": [0, 0, 1, 1],
        "target": [0, 0, 1, 1],
    }


@pytest.mark.parametrize("synchronised, refused", [(False, True), (True, False)])
def test_one_image_a_process_needs_batch_norm_of_all_processes(synchronised, refused, monkeypatch):
    monkeypatch.setattr(parallel, "world", lambda: 2)
    images, labels = digits(20, 0)
    training = TRAINING.model_copy(update={"sync_batch_norm": synchronised})
    with pytest.raises(UserError, match="one image a process") if refused else nullcontext():
        train.make_batches(images, labels, None, 2, "none", 0, torch.device("cpu"), training)


def test_domains_without_a_common_digit_are_refused():
    labels = {"source": np.array([0, 0, 1]), "target": np.array([2, 3, 3])}
    with pytest.raises(UserError, match="the test images of source and target have no digit in common"):
        embed.stratified_pair(labels, 30, seed=0)


def test_a_perplexity_beyond_the_points_is_refused():
    with pytest.raises(UserError, match=r"embedding\.perplexity"):
        embed.layout(np.zeros((20, 512), np.float32), 30.0, 0)


def test_missing_pair_method_and_weights_are_said_in_one_line():
    with pytest.raises(UserError, match="no adaptation.pairs.a-b"):
        train.main("a-b", "dann", 0)
    with pytest.raises(UserError, match="no adaptation method 'images'"):
        train.main(PAIR, "images", 0)
    with pytest.raises(UserError, match=r"weights\.safetensors is missing"):
        evaluate.main(PAIR, "dann", 9)
