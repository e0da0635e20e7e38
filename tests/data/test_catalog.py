"""The catalogue: complete, and equal to what torchvision and pytorch-fid say of the same files."""

import re
import typing

import pytest

from stages.data.catalog import DATASETS, ENTRIES, WEIGHTS, Bundled, Download, Wheel
from stages.runtime.schema import Datasets, ExtractorName

DIGITS = {"sha256": 64, "md5": 32, "sha256-prefix": 8}


def sources():
    return [source for entry in ENTRIES.values() for edition in entry.sources.values() for source in edition]


def downloads(name, edition="official"):
    return [source for source in ENTRIES[name].sources[edition] if isinstance(source, Download)]


def test_every_entry_says_whom_to_thank_and_pins_every_file():
    for entry in ENTRIES.values():
        assert all((entry.title, entry.licence, entry.citation, entry.publisher, entry.sources))
        assert all(entry.sources.values())
    for source in sources():
        kind, _, digits = source.checksum.partition(":")
        assert len(digits) == DIGITS[kind] and set(digits) <= set("0123456789abcdef")


def test_params_know_the_editions_of_every_data_set_and_the_names_of_all_weights():
    for name, field in Datasets.model_fields.items():
        [settings] = [kind for kind in typing.get_args(field.annotation) if kind is not type(None)]
        assert set(typing.get_args(settings.model_fields["source"].annotation)) == set(DATASETS[name].sources)
    assert set(Datasets.model_fields) == set(DATASETS)
    assert set(typing.get_args(ExtractorName)) == set(WEIGHTS)
    assert all(len(entry.sources) == 1 for entry in WEIGHTS.values())


def test_a_file_name_means_one_file_so_that_a_mirror_can_be_flat():
    checksums = {}
    for source in sources():
        if not isinstance(source, Bundled):
            assert re.fullmatch(r"[\w.-]+", source.file)
            assert checksums.setdefault(source.file, source.checksum) == source.checksum


def test_a_wheel_s_file_name_is_its_project_s_and_version_s():
    for source in sources():
        if isinstance(source, Wheel):
            assert source.file.startswith(f"{source.project.replace('-', '_')}-{source.version}-")


def test_no_photograph_serves_both_syn_and_mnistm():
    photos = {
        name: {source.checksum for source in ENTRIES[name].sources["packaged"] if isinstance(source, Bundled)}
        for name in ("syn", "mnistm")
    }
    assert photos["syn"] and photos["mnistm"] and not photos["syn"] & photos["mnistm"]


def test_official_digits_over_photographs_are_the_official_digits_and_the_packaged_photographs():
    editions = ENTRIES["mnistm"].sources
    digits = [source for source in editions["official"] if source.file.endswith("-ubyte.gz")]
    photos = [source for source in editions["packaged"] if isinstance(source, Bundled)]
    assert len(digits) == 4 and editions["official_over_photographs"] == (*digits, *photos)


# ---- What the libraries say ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("edition", ["official", "official_over_photographs"])
def test_mnist_is_torchvision_s(edition):
    from torchvision.datasets import MNIST

    found = [source for source in downloads("mnistm", edition) if source.unpack is None]
    assert [(source.file, source.checksum) for source in found] == [(name, f"md5:{md5}") for name, md5 in MNIST.resources]
    for source in found:
        assert source.addresses == tuple(f"{mirror}{source.file}" for mirror in MNIST.mirrors)


@pytest.mark.parametrize("name", ["svhn", "usps"])
def test_svhn_and_usps_are_torchvision_s(name):
    from torchvision import datasets

    splits = getattr(datasets, name.upper()).split_list
    assert [([*source.addresses], source.file, source.checksum) for source in downloads(name)] == [
        ([address], file, f"md5:{md5}") for address, file, md5 in (splits["train"], splits["test"])
    ]


def test_celeba_is_torchvision_s():
    from torchvision.datasets import CelebA

    known = {
        file: (f"https://drive.google.com/uc?export=download&id={identity}", f"md5:{md5}")
        for identity, md5, file in CelebA.file_list
    }
    found = {source.file: (*source.addresses, source.checksum) for source in downloads("celeba")}
    assert found.keys() == {"img_align_celeba.zip", "list_eval_partition.txt"}
    assert found.items() <= known.items()


def test_fid_s_weights_are_pytorch_fid_s():
    from pytorch_fid.inception import FID_WEIGHTS_URL

    [source] = downloads("inception")
    assert source.addresses == (FID_WEIGHTS_URL,)
    assert FID_WEIGHTS_URL.endswith(f"/{source.file}")


def test_torchvision_s_weights_are_torchvision_s():
    from torchvision.models import Inception_V3_Weights

    [source] = downloads("inception_torchvision")
    assert source.addresses == (Inception_V3_Weights.IMAGENET1K_V1.url,)
    assert source.addresses[0].endswith(f"/{source.file}")
    assert round(source.size / 2**20, 3) == Inception_V3_Weights.IMAGENET1K_V1.meta["_file_size"]


@pytest.mark.parametrize("name", ["inception", "inception_torchvision"])
def test_a_weights_file_s_checksum_begins_as_its_name_says(name):
    [source] = downloads(name)
    from torch.hub import HASH_REGEX

    assert source.checksum.partition(":")[2].startswith(HASH_REGEX.search(source.file).group(1))
