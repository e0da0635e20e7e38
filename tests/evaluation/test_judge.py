"""stages.evaluation.judge, train_judge and evaluate_acgan: size, learning, and the figures they leave."""

from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

from stages.evaluation import evaluate_acgan, train_judge
from stages.evaluation.judge import Judge, features, predict
from stages.runtime import params, schema
from stages.runtime.errors import UserError
from stages.runtime.files import read_json
from stages.runtime.images import save_arrays
from stages.runtime.seeding import seed_step
from stages.runtime.weights import load_weights

CPU = torch.device("cpu")
ROOT = Path(__file__).parents[2]
LAPTOP = params.load(ROOT / "presets/laptop.yaml")
TINY = {"steps": 60, "batch_size": 32, "lr": 0.003, "precision": "fp32"}


def bars(count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """An easy task: noise with a bright bar whose height tells the class."""
    generator = np.random.default_rng(seed)
    images, labels = generator.integers(0, 100, (count, 28, 28, 3), dtype=np.uint8), np.arange(count, dtype=np.int64) % 10
    for image, label in zip(images, labels, strict=True):
        image[2 * label + 4 : 2 * label + 6] = 255
    return images, labels


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A folder to run the stages in, with easy digits, samples that are half right, and tiny params."""
    content = yaml.safe_load((ROOT / "presets/laptop.yaml").read_text())
    content["judge"] |= TINY
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(content))
    (images, labels), (test_images, test_labels) = bars(500, 0), bars(100, 1)
    save_arrays(
        tmp_path / f"data/prepared/{content['judge']['dataset']}.npz",
        train_images=images,
        train_labels=labels,
        test_images=test_images,
        test_labels=test_labels,
    )
    images, labels = bars(40, 2)
    wanted = np.where(np.arange(40) < 20, labels, (labels + 1) % 10)
    save_arrays(tmp_path / "samples/acgan-0.npz", images=images, labels=wanted)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def settings(**changes) -> schema.Judge:
    return LAPTOP.judge.model_copy(update=TINY | changes)


def test_parameter_count_is_the_references():
    judge = Judge()
    assert sum(parameter.numel() for parameter in judge.parameters()) == 44_674
    assert judge(torch.zeros(2, 3, 28, 28)).shape == (2, 10)


def test_predictions_do_not_depend_on_the_batch_size_and_see_the_range_from_minus_one_to_one():
    torch.manual_seed(0)
    judge, (images, _) = Judge(), bars(25, 0)
    whole = predict(judge, images, CPU)
    assert np.array_equal(whole, predict(judge, images, CPU, batch_size=4))

    class Spy(torch.nn.Module):
        def forward(self, batch: torch.Tensor) -> torch.Tensor:
            assert batch.shape == (2, 3, 28, 28)
            assert (batch[0] == -1).all()
            torch.testing.assert_close(batch[1], torch.ones(3, 28, 28))
            return batch.new_zeros(2, 10)

    extremes = np.stack([np.zeros((28, 28, 3)), np.full((28, 28, 3), 255)]).astype(np.uint8)
    assert predict(Spy(), extremes, CPU).tolist() == [0, 0]


def test_same_seed_same_judge():
    weights = []
    for seed in (0, 0, 1):
        model = train_judge.JudgeTraining(*bars(50, 0), settings(seed=seed), CPU, LAPTOP.training)
        for step in (1, 2):
            seed_step(seed, step)
            model.update(step)
        weights.append(model.judge.layers[0].weight.detach())
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])


def test_a_data_set_that_streams_from_disk_gives_the_same_judge(monkeypatch):
    weights = []
    for gigabytes in ("1", "0"):
        monkeypatch.setenv("RESIDENT_GB", gigabytes)
        model = train_judge.JudgeTraining(*bars(50, 0), settings(), CPU, LAPTOP.training)
        assert (model.feed.resident is None) == (gigabytes == "0")
        for step in (1, 2):
            model.update(step)
        weights.append(model.judge.layers[0].weight.detach())
    assert torch.equal(*weights)


def test_judge_learns_an_easy_task_and_scores_what_it_sees(place):
    train_judge.main()
    report = read_json("results/judge/evaluation.json")
    assert report["test_accuracy"] >= 0.95
    assert report["n"] == 100
    assert np.array(report["confusion"]).sum() == 100
    assert Path("results/judge/history.csv").read_text().startswith("step,loss,accuracy\n")
    load_weights("models/judge/weights.safetensors", Judge())
    assert not list(Path(".resume").glob("*"))

    evaluate_acgan.main(0)
    scores = read_json("results/acgan-0/evaluation.json")
    assert list(scores) == ["judge_accuracy", "per_class", "confusion", "n", "judge_test_accuracy", "diversity"]
    assert scores["judge_accuracy"] == pytest.approx(0.5, abs=0.1)
    assert scores["judge_test_accuracy"] == report["test_accuracy"]
    assert scores["n"] == 40


def test_judge_learns_from_training_images_alone(place):
    """Test labels that say something else are neither learnt nor met."""
    path = next(Path("data/prepared").iterdir())
    arrays = dict(np.load(path))
    save_arrays(path, **arrays | {"test_labels": (arrays["test_labels"] + 1) % 10})
    train_judge.main()
    report = read_json("results/judge/evaluation.json")
    assert report["test_accuracy"] < 0.1
    assert np.trace(np.roll(report["confusion"], 1, axis=1)) > 95


def test_copies_of_one_image_a_class_please_the_judge_but_have_no_recall(place):
    train_judge.main()
    scores = []
    images, labels = bars(100, 3)
    for kind in (slice(None), np.tile(np.arange(10), 10)):
        save_arrays("samples/acgan-0.npz", images=images[kind], labels=labels[kind])
        evaluate_acgan.main(0)
        scores.append(read_json("results/acgan-0/evaluation.json"))
    real, copied = (found["diversity"] for found in scores)
    assert all(found["judge_accuracy"] > 0.95 for found in scores)
    assert real["extractor"] == "judge" and real["recall_ceiling"] > 0.6
    assert real["recall"] == pytest.approx(real["recall_ceiling"], abs=0.2)
    assert copied["recall"] < 0.05 and copied["precision"] > 0.5 and copied["recall_ceiling"] == real["recall_ceiling"]


def test_features_are_what_the_last_layer_decides_by():
    torch.manual_seed(0)
    judge, (images, _) = Judge(), bars(25, 0)
    found = features(judge, images, CPU, batch_size=4)
    assert found.shape == (25, 64) and found.min() == 0
    logits = judge.layers[-1](torch.from_numpy(found))
    assert np.array_equal(logits.argmax(dim=1).numpy(), predict(judge, images, CPU))


def test_missing_samples_are_said_in_one_line(place):
    Path("samples/acgan-0.npz").unlink()
    with pytest.raises(UserError, match="samples/acgan-0.npz is missing"):
        evaluate_acgan.main(0)
