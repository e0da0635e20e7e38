"""The extractor reads real weights and nothing else, and sees each image by itself."""

import pickle
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from efficientnet_lite_pytorch import EfficientNet

from stages.data import fetch
from stages.evaluation import extractors
from stages.runtime.errors import UserError


def lively(network: torch.nn.Module, images: torch.Tensor) -> dict[str, torch.Tensor]:
    """Random weights with batch-norm statistics that fit them, without which the activations would fade to nothing."""
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.momentum = 1.0
    with torch.no_grad():
        network.train()(images)
    return network.state_dict()


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("weights")
    weights = lively(EfficientNet.from_name("efficientnet-lite0"), torch.randn(8, 3, 224, 224))
    torch.save(weights, folder / "random.pth")
    return folder


@pytest.fixture(scope="module")
def extractor(folder):
    return extractors.load("efficientnet_lite0", folder)


@pytest.fixture(scope="module")
def images():
    return np.random.default_rng(0).integers(0, 256, (5, 20, 24, 3), dtype=np.uint8)


def test_nothing_is_left_that_a_convolution_can_do_by_itself(extractor):
    left = [module for module in extractor.network.modules() if isinstance(module, torch.nn.BatchNorm2d | torch.nn.ZeroPad2d)]
    # One more pixel at the right and below, which no convolution adds.
    assert {module.padding for module in left} == {(0, 1, 0, 1), (1, 2, 1, 2)} and len(left) == 5


def test_one_pass_gives_1280_features_and_1000_logits_in_float32(extractor, images):
    activations = extractors.extract(extractor, images, batch_size=2)
    assert activations.features.shape == (5, 1280) and activations.features.dtype == np.float32
    assert activations.logits.shape == (5, 1000) and activations.logits.dtype == np.float32


def test_logits_are_those_of_the_packages_own_network_and_features_what_its_last_layer_reads(folder, extractor, images):
    activations = extractors.extract(extractor, images[:2], batch_size=2)
    network = EfficientNet.from_name("efficientnet-lite0").eval()
    network.load_state_dict(torch.load(folder / "random.pth", weights_only=True))
    pixels = torch.from_numpy(images[:2]).permute(0, 3, 1, 2) / 255
    resized = torch.nn.functional.interpolate(pixels, size=(224, 224), mode="bilinear", align_corners=False)
    mean, std = torch.tensor(extractors.IMAGENET_MEAN), torch.tensor(extractors.IMAGENET_STD)
    with torch.no_grad():
        expected = network((resized - mean[:, None, None]) / std[:, None, None]).numpy()
    np.testing.assert_allclose(activations.logits, expected, atol=1e-4)
    last = network._fc.weight.detach().numpy(), network._fc.bias.detach().numpy()
    np.testing.assert_allclose(activations.features @ last[0].T + last[1], expected, atol=1e-4)


def test_an_image_gives_the_same_whatever_batch_it_is_in(extractor, images):
    whole = extractors.extract(extractor, images, batch_size=5)
    parts = extractors.extract(extractor, images, batch_size=2)
    np.testing.assert_allclose(whole.features, parts.features, atol=1e-4)
    assert np.abs(whole.features[0] - whole.features[1]).max() > 0.1


def test_the_same_call_gives_the_same_bytes(extractor, images):
    first, second = (extractors.extract(extractor, images, batch_size=2) for _ in range(2))
    assert first.features.tobytes() == second.features.tobytes()


def test_a_grey_image_is_seen_as_its_three_channel_copy(extractor, images):
    grey = images[..., :1]
    one, three = (extractors.extract(extractor, stack, 5).features for stack in (grey, np.repeat(grey, 3, axis=3)))
    np.testing.assert_allclose(one, three, atol=1e-5)


def test_missing_weights_are_refused_in_one_line(tmp_path):
    with pytest.raises(UserError, match="must hold one .pth file but holds 0"):
        extractors.load("efficientnet_lite0", tmp_path)


def test_an_unknown_extractor_is_refused_with_those_there_are(tmp_path):
    with pytest.raises(UserError, match=r"'vgg', which is not known \(efficientnet_lite0, inception, inception_torchvision\)"):
        extractors.load("vgg", tmp_path)


class Hostile:
    """Pickled, it is a call of `Path.touch`."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
@pytest.mark.parametrize("container", ["zip", "legacy", "bare"])
@pytest.mark.parametrize("name", ["efficientnet_lite0", "inception"])
def test_code_in_a_weights_file_is_refused_and_never_run(tmp_path, name, container):
    touched = tmp_path / "touched"
    if container == "bare":
        (tmp_path / "weights.pth").write_bytes(pickle.dumps({"weight": Hostile(touched)}))
    else:
        torch.save({"weight": Hostile(touched)}, tmp_path / "weights.pth", _use_new_zipfile_serialization=container == "zip")
    with pytest.raises(UserError, match=r"weights\.pth is damaged") as caught:
        extractors.load(name, tmp_path)
    assert "\n" not in str(caught.value)
    assert not touched.exists()


@pytest.mark.slow
def test_the_packaged_extractor_does_not_wait_for_torchvision():
    code = "import sys, stages.evaluation.evaluate_stylegan2; sys.exit('torchvision' in sys.modules)"
    root = Path(extractors.__file__).parents[2]
    assert subprocess.run([sys.executable, "-c", code], cwd=root, timeout=120).returncode == 0


def test_weights_that_the_system_does_not_let_read_are_not_called_damaged(tmp_path):
    (tmp_path / "weights.pth").mkdir()
    with pytest.raises(UserError, match=r"weights\.pth can't be read: is a directory"):
        extractors.load("efficientnet_lite0", tmp_path)


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
@pytest.mark.parametrize("damage", ["cut", "empty", "other", "pickle", "names"])
def test_damaged_weights_are_refused_in_one_line(folder, tmp_path, damage):
    path = tmp_path / "weights.pth"
    whole = (folder / "random.pth").read_bytes()
    if damage == "other":
        path.write_bytes(b"<html>404</html>")
    elif damage == "pickle":
        path.write_bytes(pickle.dumps(Path("anything")))
    elif damage == "names":
        torch.save({"weight": torch.zeros(1)}, path)
    else:
        path.write_bytes(whole[: len(whole) // 2] if damage == "cut" else b"")
    with pytest.raises(UserError, match=r"weights\.pth") as caught:
        extractors.load("efficientnet_lite0", tmp_path)
    assert "\n" not in str(caught.value)


@pytest.mark.slow
def test_the_published_weights_see_a_cat(tmp_path, monkeypatch):
    from skimage.data import chelsea

    if not list(Path("data/raw/efficientnet_lite0").glob("*.pth")):
        shutil.copy("presets/laptop.yaml", tmp_path / "params.yaml")
        monkeypatch.chdir(tmp_path)
        fetch.main("efficientnet_lite0")
    logits = extractors.extract(extractors.load("efficientnet_lite0"), chelsea()[None], 1).logits
    shares = torch.softmax(torch.from_numpy(logits), dim=1)[0]
    assert shares.argmax() == 285
    assert 0.7 < shares[285] < 0.85
