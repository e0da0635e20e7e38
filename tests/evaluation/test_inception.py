"""Both Inception networks against the packages that they come from, on one file of random weights."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from torch import nn

from stages.evaluation import extractors
from stages.evaluation.frechet import distance, moments_of
from stages.evaluation.scores import classifier_score
from stages.runtime.errors import UserError


def faces(count: int, seed: int, blots: int = 6) -> np.ndarray:
    """Images (count, 64, 64, 3) of smooth blots, whose number a side says how fine they are."""
    generator = np.random.default_rng(seed)
    small = generator.integers(0, 256, (count, blots, blots, 3), dtype=np.uint8)
    return np.stack([np.asarray(Image.fromarray(image).resize((64, 64))) for image in small])


def write_weights(network: nn.Module, path) -> None:
    """Random weights with batch-norm statistics that fit them, without which the features of all images would be the same.

    In the form that files had when the published ones were made.
    """
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = 1.0
    images = F.interpolate(torch.from_numpy(faces(2, 9)).permute(0, 3, 1, 2) / 127.5 - 1, size=(299, 299))
    with torch.no_grad():
        network.train()(images)
    torch.save(network.state_dict(), path, _use_new_zipfile_serialization=False)


@pytest.fixture(scope="module")
def fid_folder(tmp_path_factory):
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("inception")
    network = extractors.Inception.build()
    nn.init.normal_(network.fc.bias)
    write_weights(network, folder / "random.pth")
    return folder


@pytest.fixture
def pytorch_fid(fid_folder, tmp_path, monkeypatch):
    """pytorch-fid, whose own loader finds the tests' weights where it keeps what it has downloaded."""
    from pytorch_fid import fid_score, inception

    kept = tmp_path / "hub/checkpoints" / inception.FID_WEIGHTS_URL.rpartition("/")[2]
    kept.parent.mkdir(parents=True)
    kept.symlink_to(fid_folder / "random.pth")
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    return fid_score


def test_features_are_pytorch_fids_and_logits_what_its_last_layer_makes_of_them_without_bias(fid_folder, pytorch_fid):
    images = faces(2, 0)
    ours = extractors.extract(extractors.load("inception", fid_folder), images, 2)
    with torch.no_grad():
        theirs = pytorch_fid.InceptionV3([3]).eval()(torch.from_numpy(images).permute(0, 3, 1, 2) / 255)[0].flatten(1)
    assert ours.features.shape == (2, 2048) and ours.logits.shape == (2, 1008)
    np.testing.assert_allclose(ours.features, theirs.numpy(), rtol=1e-5, atol=1e-5)
    assert np.abs(ours.features[0] - ours.features[1]).mean() > 0.1
    last = torch.load(fid_folder / "random.pth", weights_only=True)["fc.weight"].numpy()
    np.testing.assert_allclose(ours.logits, theirs.numpy() @ last.T, rtol=1e-4, atol=1e-4)


def test_torchvisions_network_gets_images_from_minus_one_to_one_and_keeps_its_bias(tmp_path):
    """As sbarratt/inception-score-pytorch calls it: transform_input off, bilinear to 299, class scores of eval mode."""
    from torchvision.models import inception_v3

    torch.manual_seed(0)
    network = inception_v3(weights=None, transform_input=False, init_weights=False)
    nn.init.normal_(network.fc.bias)
    write_weights(network, tmp_path / "random.pth")
    images = faces(2, 0)
    ours = extractors.extract(extractors.load("inception_torchvision", tmp_path), images, 2)
    pixels = (torch.from_numpy(images).permute(0, 3, 1, 2) / 255 - 0.5) / 0.5
    with torch.no_grad():
        theirs = network.eval()(nn.Upsample(size=(299, 299), mode="bilinear")(pixels))
    assert ours.features.shape == (2, 2048)
    np.testing.assert_allclose(ours.logits, theirs.numpy(), rtol=1e-4, atol=1e-4)
    assert np.abs(ours.logits[0] - ours.logits[1]).max() > 0.1


def test_in_one_part_the_score_is_the_scripts():
    """sbarratt/inception-score-pytorch: exp of the mean KL of softmaxed logits; ours shuffles before it parts them."""
    logits = np.random.default_rng(0).normal(0, 3, (50, 1000)).astype(np.float32)
    shares = torch.softmax(torch.from_numpy(logits).double(), 1).numpy()
    theirs = np.exp(np.mean([np.sum(share * np.log(share / shares.mean(0))) for share in shares]))
    ours, _ = classifier_score(logits, splits=1, generator=np.random.default_rng(1))
    assert ours == pytest.approx(theirs, rel=1e-12)


def test_names_of_distance_and_score_are_kept_for_the_networks_that_they_belong_to():
    names = {name: (kind.distance, kind.score) for name, kind in extractors.EXTRACTORS.items()}
    inceptions = {"inception": ("fid", "is"), "inception_torchvision": ("fd", "is_torchvision")}
    assert len(names) > 2 and names == dict.fromkeys(names, ("fd", "cs")) | inceptions


def test_weights_of_one_inception_are_not_taken_for_the_others(fid_folder):
    with pytest.raises(UserError, match=r"random\.pth does not hold the weights of inception_torchvision"):
        extractors.load("inception_torchvision", fid_folder)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:The `disp` argument")
def test_fid_is_pytorch_fids_on_the_same_folders(fid_folder, pytorch_fid, tmp_path):
    """Fewer images than features, whose covariances are singular: there pytorch-fid's matrix root itself is off by 1e-5."""
    sets = {"coarse": faces(36, 1, 6), "fine": faces(30, 2, 9)}
    for name, images in sets.items():
        (tmp_path / name).mkdir()
        for i, image in enumerate(images):
            Image.fromarray(image).save(tmp_path / name / f"{i:03}.png")
    network = extractors.load("inception", fid_folder)
    ours = distance(*(moments_of(extractors.extract(network, images, 8).features) for images in sets.values()))
    folders = [str(tmp_path / name) for name in sets]
    theirs = pytorch_fid.calculate_fid_given_paths(folders, batch_size=10, device="cpu", dims=2048, num_workers=0)
    assert theirs > 10
    assert ours == pytest.approx(theirs, rel=1e-4)
