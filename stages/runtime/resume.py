"""Resume state: one folder a run and fingerprint, from which an interrupted training goes on exactly."""

import hashlib
import json
import os
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from stages.runtime.files import replacing, sha256

ROOT = Path(__file__).resolve().parents[2]


class ResumeState:
    """The saved state of `run` under `.resume/RUN-FINGERPRINT/` (or below RESUME_DIR).

    The fingerprint covers the params, the bytes of the input files and the code of every `stages` module that is loaded: a
    training with others starts on its own. Package versions and the device are not in it.
    """

    def __init__(self, run: str, params: Any, inputs: Sequence[str | Path]) -> None:
        self.folder = Path(os.environ.get("RESUME_DIR", ".resume")) / f"{run}-{_fingerprint(params, inputs)}"

    def save(self, state: dict[str, Any]) -> None:
        """Replace the saved state by `state` (tensors, numbers, words, lists and dicts of them) in one move."""
        with replacing(self.folder / "state.pt") as temporary:
            torch.save(state, temporary)

    def load(self) -> dict[str, Any] | None:
        """The saved state, or None where there is none or it can't be read (it is then said and left out)."""
        path = self.folder / "state.pt"
        if not path.exists():
            return None
        try:
            return torch.load(path, map_location="cpu", weights_only=True)
        except Exception as error:  # torch.load raises half a dozen kinds for damaged files
            print(f"{path} can't be read ({type(error).__name__}): starting afresh", file=sys.stderr)
            return None

    def clear(self) -> None:
        """Remove the saved state: the run is finished."""
        shutil.rmtree(self.folder, ignore_errors=True)


def _fingerprint(params: Any, inputs: Sequence[str | Path]) -> str:
    code = {name: sha256(module.__file__) for name, module in sorted(sys.modules.items()) if _ours(name, module)}
    content = json.dumps([params, [sha256(path) for path in inputs], code], sort_keys=True, default=_plain)
    return hashlib.sha256(content.encode()).hexdigest()[:16]


def _ours(name: str, module: Any) -> bool:
    return (name == "__main__" or name.startswith("stages.")) and str(getattr(module, "__file__", None) or "").startswith(
        str(ROOT)
    )


def _plain(value: Any) -> Any:
    return value.model_dump() if hasattr(value, "model_dump") else str(value)
