"""Weight files: safetensors, never pickles."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import safetensors
from safetensors.torch import load_file, save
from torch import Tensor, nn

from stages.runtime.errors import UserError
from stages.runtime.files import refused, replacing


def save_weights(path: str | Path, tensors: dict[str, Tensor], form: dict[str, Any] | None = None) -> None:
    """Write tensors by name as safetensors, on the CPU and contiguous, and what no tensor tells of the model (`check_form`)."""
    with replacing(path) as temporary:
        # As bytes, so that a full disk is an OSError as everywhere: safetensors' own writer raises something else.
        temporary.write_bytes(save({name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}, _told(form)))


def read_weights(path: str | Path) -> dict[str, Tensor]:
    """Tensors by name; UserError where the file is missing or damaged."""
    with _readable(path):
        return load_file(path)


def check_form(path: str | Path, form: dict[str, Any]) -> None:
    """UserError where the weights were saved with another form than this, values in place of which any tensors would fit."""
    with _readable(path), safetensors.safe_open(path, "pt") as file:
        saved = (file.metadata() or {}).get("form")
    if saved != _told(form)["form"]:
        there = "nothing" if saved is None else repr(saved[:150])
        raise UserError(f"{path} belongs to another model than the params describe ({there} there, {_told(form)['form']!r} here)")


def load_weights(path: str | Path, module: nn.Module, prefix: str = "") -> None:
    """Fill `module` with the tensors whose names start with `prefix`; UserError where names or shapes don't fit."""
    tensors = {name.removeprefix(prefix): tensor for name, tensor in read_weights(path).items() if name.startswith(prefix)}
    try:
        module.load_state_dict(tensors)
    except RuntimeError as error:
        first = str(error).splitlines()[1].strip() if "\n" in str(error) else str(error)
        raise UserError(f"{path} belongs to another model than the params describe ({first[:150]})") from None


def _told(form: dict[str, Any] | None) -> dict[str, str] | None:
    """What stands beside the tensors: one word, since safetensors writes several in another order each time."""
    return None if form is None else {"form": json.dumps(form, sort_keys=True)}


@contextmanager
def _readable(path: str | Path) -> Iterator[None]:
    try:
        # safetensors' own errors don't tell what the system refused.
        with Path(path).open("rb"):
            yield
    except (OSError, safetensors.SafetensorError) as error:
        damaged = UserError(f"{path} is no readable safetensors file ({error}): delete it and run `dvc repro`")
        raise refused(path, error) or damaged from None
