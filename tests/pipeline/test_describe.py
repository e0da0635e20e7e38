"""Every network of the study is written down with its number of parameters."""

from pathlib import Path

import numpy as np
import pytest

from stages.adaptation import describe as adaptation
from stages.evaluation import describe as evaluation
from stages.generation import describe as generation
from stages.runtime.files import read_json
from stages.runtime.images import save_arrays

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def written(tmp_path, monkeypatch):
    """What the three stages write with the paper preset's params."""
    monkeypatch.chdir(tmp_path)
    Path("params.yaml").write_text((ROOT / "presets/paper.yaml").read_text())
    save_arrays("data/prepared/celeba.npz", test_images=np.zeros((1, 64, 64, 3), np.uint8))
    for room in (generation, adaptation, evaluation):
        room.main()
    return {network["name"]: network for path in Path("results/networks").glob("*.json") for network in read_json(path)}


def test_the_paper_preset_s_networks_have_the_study_s_numbers_of_parameters(written):
    assert {name: network["parameters"] for name, network in written.items()} == {
        "StyleGAN2, mapping network": 2_101_248,
        "StyleGAN2, generator": 11_365_088,
        "StyleGAN2, discriminator": 22_827_713,
        "ACGAN, generator": 1_052_139,
        "ACGAN, discriminator": 103_531,
        "DANN": 600_490,
        "DSN": 2_227_766,
        "Judge": 44_674,
        # Not the study's: at the publication's width.
        "self-ensembling": 3_121_802,
    }


def test_networks_are_printed_layer_by_layer(written):
    assert "(shared): Encoder(" in written["DSN"]["printed"]
    assert "Conv2d(3, 64, kernel_size=(5, 5)" in written["DANN"]["printed"]
