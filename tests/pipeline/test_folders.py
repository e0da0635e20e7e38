"""The whole graph on a user's own images."""

import pytest
import yaml

from tests.pipeline.clone import Clone
from tests.pipeline.folders import draw_digits, draw_faces, of_folders

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def clone(tmp_path_factory):
    own = tmp_path_factory.mktemp("own images")
    clone = Clone(tmp_path_factory.mktemp("clone"))
    smoke = yaml.safe_load((clone.folder / "params.yaml").read_text())
    changed = of_folders(smoke, draw_faces(own / "faces", 60, 20), draw_digits(own / "digits", 400, 100))
    (clone.folder / "params.yaml").write_text(yaml.safe_dump(changed))
    clone.own = own
    clone.ran = clone.repro()
    return clone


def test_own_images_go_through_the_whole_graph(clone):
    assert {"import@myfaces", "import@mydigits", "pair@mydigits-mfeat", "train_stylegan2@0", "page"} <= clone.ran
    assert {name for name in clone.ran if name.startswith(("fetch@", "prepare@"))} == {"fetch@mfeat", "prepare@mfeat"}
    summary = clone.summary()
    assert set(summary["adaptation"]) == {"mydigits-mfeat"}
    assert summary["stylegan2"]["clean"]["efficientnet_lite0"]["fd"]["mean"] > 0
    assert str(clone.own) not in (clone.folder / "report/index.html").read_text().split("params.yaml")[0]
    assert clone.repro() == set()


def test_another_image_in_the_folder_reruns_what_comes_of_it(clone):
    (clone.own / "faces/train/0000.jpg").unlink()
    ran = clone.repro("import@mydigits", "import@myfaces", "pair@mydigits-mfeat")
    assert ran == {"import@myfaces"}


def test_a_fault_in_the_folder_is_named_before_anything_is_trained(clone):
    with (clone.own / "digits/train.csv").open("a") as file:
        file.write("gone.png,3\n")
    done = clone.run("dvc", "repro", check=False)
    assert done.returncode != 0
    assert "gone.png" in done.stderr and "train_" not in done.stdout
