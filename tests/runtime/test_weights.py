import pickle

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from stages.runtime.errors import UserError
from stages.runtime.weights import check_form, load_weights, read_weights, save_weights


@pytest.fixture
def path(tmp_path):
    return tmp_path / "weights.safetensors"


def test_weights_come_back_as_they_were(path):
    first, second = nn.Linear(3, 2), nn.Linear(3, 2)
    save_weights(path, first.state_dict())
    load_weights(path, second)
    assert all(torch.equal(tensor, second.state_dict()[name]) for name, tensor in first.state_dict().items())


def test_a_part_is_read_by_its_prefix(path):
    part, other = nn.Linear(3, 2), nn.Linear(4, 4)
    save_weights(path, {f"part.{name}": tensor for name, tensor in part.state_dict().items()} | {"other": other.weight})
    again = nn.Linear(3, 2)
    load_weights(path, again, "part.")
    assert torch.equal(again.weight, part.weight)


@pytest.mark.parametrize(
    "tensors",
    [
        {"weight": torch.zeros(2, 4), "bias": torch.zeros(2)},
        {"weight": torch.zeros(2, 3)},
        {"weight": torch.zeros(2, 3), "bias": torch.zeros(2), "more": torch.zeros(2)},
        {},
    ],
    ids=["another shape", "one too few", "one too many", "none"],
)
def test_weights_of_another_model_are_refused_in_one_line(path, tensors):
    save_file(tensors, path)
    layer = nn.Linear(3, 2)
    with pytest.raises(UserError, match=f"^{path} belongs to another model than the params describe") as raised:
        load_weights(path, layer)
    assert len(str(raised.value)) < 400 and "\n" not in str(raised.value)


def test_a_message_stays_short_however_many_weights_are_missing(path):
    save_file({"else": torch.zeros(1)}, path)
    with pytest.raises(UserError) as raised:
        load_weights(path, nn.Sequential(*(nn.Linear(2, 2) for _ in range(200))))
    assert len(str(raised.value)) < 500


def test_a_file_that_the_system_does_not_let_read_is_not_called_damaged(path):
    path.mkdir()
    with pytest.raises(UserError, match=f"^{path} can't be read: is a directory"):
        read_weights(path)


GOOD = (40).to_bytes(8, "little") + b'{"a":{"dtype":"F32","shape":[2],"data_of'


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"text",
        bytes(8),
        (2**60).to_bytes(8, "little") + b"{}",
        GOOD,
        (2).to_bytes(8, "little") + b"[]",
        pickle.dumps({"weight": [1]}),
    ],
    ids=["empty", "text", "no header", "huge header", "truncated", "a list", "a pickle"],
)
def test_a_damaged_file_is_one_line_with_its_name(path, content):
    path.write_bytes(content)
    with pytest.raises(UserError, match=f"^{path} "):
        read_weights(path)


def test_a_missing_file_or_a_folder_in_its_place_is_named(path):
    with pytest.raises(UserError, match=f"^{path} is missing"):
        read_weights(path)
    path.mkdir()
    with pytest.raises(UserError, match=f"^{path} "):
        read_weights(path)


def test_the_same_weights_of_the_same_form_are_the_same_bytes(tmp_path):
    form = {name: float(number) for number, name in enumerate("abcdefgh")}
    written = set()
    for number in range(20):
        path = tmp_path / f"{number}.safetensors"
        save_weights(path, {"w": torch.ones(2)}, dict(sorted(form.items(), reverse=number % 2)))
        written.add(path.read_bytes())
    assert len(written) == 1


def test_weights_are_of_the_form_that_they_were_saved_with(tmp_path):
    path = tmp_path / "w.safetensors"
    save_weights(path, {"w": torch.ones(2)}, {"eps": 1e-05, "fit": "pad"})
    check_form(path, {"eps": 1e-05, "fit": "pad"})
    for other in ({"eps": 0.8, "fit": "pad"}, {"eps": 1e-05}, {"eps": 1e-05, "fit": "pad", "width": 3}):
        with pytest.raises(UserError, match="another model than the params describe .*1e-05.* there, .* here"):
            check_form(path, other)
    save_weights(path, {"w": torch.ones(2)})
    with pytest.raises(UserError, match="nothing there"):
        check_form(path, {"eps": 1e-05})
    path.write_bytes(b"damaged")
    with pytest.raises(UserError, match="no readable safetensors file"):
        check_form(path, {})
