"""What the page says of the data sets is what data/README.md says, for every data set of the catalogue."""

import re
from pathlib import Path

import numpy as np
import pytest
import yaml

from stages.report import datasets
from stages.report.results import Study
from stages.runtime import params
from stages.runtime.images import save_arrays
from tests.report.conftest import ROOT

README = (ROOT / "data/README.md").read_text(encoding="utf-8").split("## Sources")[1]
PRESETS = sorted((ROOT / "presets").glob("*.yaml"))
ROWS = {"orl": "ORL faces", "celeba": "CelebA", "svhn": "SVHN", "usps": "USPS", "mfeat": "Multiple Features"}


def licence_of(row: str) -> str:
    """The licence's cell in the table of sources."""
    return re.search(rf"^\| {row} \|[^|]*\| ([^|]*) \|", README, re.MULTILINE)[1]


@pytest.mark.parametrize("name, origin", [key for key in datasets.LICENCES if key[0] in ROWS])
def test_licences_are_those_of_the_readme(name, origin):
    for part in datasets.LICENCES[name, origin].split("; "):
        assert part in licence_of(ROWS[name]).replace("Pictures", "pictures")


def test_mnist_and_its_photographs_have_the_readme_s_licences():
    assert datasets.MNIST.removeprefix("digits ") in licence_of("MNIST")
    assert datasets.BSDS.removeprefix("photographs ") in licence_of("BSDS500")


@pytest.mark.parametrize("preset", PRESETS, ids=lambda path: path.stem)
def test_every_data_set_of_a_preset_has_a_licence(preset, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("params.yaml").write_text(preset.read_text())
    study = Study(*params.read(*Study.KEYS))
    assert all((name, study.origin(name)) in datasets.LICENCES for name in study.data)


def test_numbers_and_sizes_are_read_off_the_prepared_files(study):
    save_arrays(
        "data/prepared/syn.npz", train_images=np.zeros((7, 3, 4, 3), np.uint8), test_images=np.zeros((2, 3, 4, 3), np.uint8)
    )
    described = {data["name"]: data for data in datasets.described(Study(*params.read(*Study.KEYS)))}
    assert (described["syn"]["train"], described["syn"]["test"]) == ((7, 3, 4, 3), (2, 3, 4, 3))
    assert described["mfeat"]["train"] is None


@pytest.mark.parametrize("content", [b"", b"no archive", b"PK\x05\x06" + bytes(18)])
def test_of_a_damaged_file_no_number_is_shown(tmp_path, content):
    (tmp_path / "x.npz").write_bytes(content)
    assert datasets.shape(tmp_path / "x.npz", "train_images") is None


def test_a_users_own_folder_has_the_user_s_licence(paper_study):
    content = yaml.safe_load(Path("params.yaml").read_text())
    (own,) = content["data"]["folders"]
    described = {data["name"]: data for data in datasets.described(Study(*params.read(*Study.KEYS)))}
    assert described[own]["licence"] == "yours to know"
