"""What holds for all official data sets: missing files are named, nothing is downloaded or unpickled."""

import sys
from pathlib import Path

import pytest

from stages.data import prepare
from stages.runtime.errors import UserError
from tests.data.raw import write_bsds500, write_celeba, write_mnist, write_svhn, write_usps


@pytest.mark.parametrize("dataset", ["celeba", "mnistm", "svhn", "usps"])
def test_raw_files_that_are_missing_are_one_clear_line(workspace, dataset):
    with pytest.raises(UserError, match="is missing: run `dvc repro`, which fetches it"):
        prepare.main(dataset)
    assert not list(Path("data").glob("prepared/*"))


def test_nothing_is_ever_downloaded_or_unpickled(workspace, monkeypatch):
    write_svhn(monkeypatch)
    write_usps()
    write_mnist()
    write_bsds500()
    write_celeba()

    seen = []

    def refuse(event, arguments):
        if watching and event in ("pickle.find_class", "socket.connect", "socket.getaddrinfo"):
            seen.append(event)
            raise AssertionError(f"{event} {arguments}")

    watching = True
    sys.addaudithook(refuse)
    try:
        for dataset in ("celeba", "mnistm", "svhn", "usps"):
            prepare.main(dataset)
            assert Path(f"data/prepared/{dataset}.npz").is_file()
    finally:
        watching = False
    assert seen == []
