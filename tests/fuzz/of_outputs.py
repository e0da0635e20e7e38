"""What stages leave for each other: arrays, weights, resume states, figures, histories."""

import hashlib
import io
import json
import pickle
import struct
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from hypothesis import strategies as st
from safetensors.torch import save as save_tensors
from torch import nn

from stages.evaluation import extractors
from stages.report import results
from stages.runtime import images, weights
from stages.runtime.files import read_json
from stages.runtime.resume import VERSION, ResumeState
from tests.fuzz.harness import Target, damaged, written
from tests.fuzz.pieces import PICKLE_PIECES, Attack, random_bytes


def npz(compressed: bool = False, **arrays: Any) -> bytes:
    file = io.BytesIO()
    (np.savez_compressed if compressed else np.savez)(file, **arrays)
    return file.getvalue()


LABELLED = {"train_images": random_bytes(3, 4, 4, 3), "train_labels": np.arange(3)}
ARRAYS = [
    npz(**LABELLED),
    npz(True, **LABELLED),
    npz(**(LABELLED | {"train_labels": np.array([Attack()] * 3)})),
    npz(train_images=LABELLED),
]


def npy(header: str, content: bytes) -> bytes:
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header.encode("latin-1", "replace") + content


HEADERS = st.builds(
    "{{'descr': {}, 'fortran_order': {}, 'shape': {}, }}{}".format,
    st.sampled_from(
        [
            "'|u1'",
            "'<i8'",
            "'|O'",
            "'<f4'",
            "'<U9'",
            "'>u1'",
            "[('a','<i4')]",
            "'|V8'",
            "('|u1',(9,))",
            "__import__('os')",
            "'" + "x" * 99,
        ]
    ),
    st.sampled_from(["False", "True", "0", "None", "exec('1')"]),
    st.sampled_from(
        [
            "(3, 4, 4, 3)",
            "(3,)",
            "()",
            "(-1,)",
            "(0, 4, 4, 3)",
            "(10**9, 4, 4, 3)",
            "(1000000000000, 4, 4, 3)",
            "(True,)",
            "[3]",
            "(" * 200,
        ]
    ),
    st.sampled_from(["\n", "", "\n\n", "\0\n"]),
)


@st.composite
def made_npz(draw: st.DrawFn) -> bytes:
    """An npz whose members have odd headers."""
    file = io.BytesIO()
    with zipfile.ZipFile(
        file, "w", draw(st.sampled_from([zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2]))
    ) as archive:
        for name in ("train_images.npy", "train_labels.npy"):
            archive.writestr(
                name, npy(draw(HEADERS), draw(st.sampled_from([b"", b"\0" * 144, b"\0" * 24, pickle.dumps(Attack())])))
            )
    return file.getvalue()


def read_split(folder: Path, content: bytes) -> Any:
    return images.load_split(written(folder, "arrays.npz", content), "train")


def read_digits(folder: Path, content: bytes) -> Any:
    return images.load_digits(written(folder, "arrays.npz", content), "train")


def is_split(split: tuple[np.ndarray, np.ndarray]) -> bool:
    pictures, labels = split
    return pictures.dtype == np.uint8 and pictures.ndim == 4 and labels.dtype == np.int64 and len(pictures) == len(labels) > 0


TENSORS = [
    save_tensors({"weight": torch.zeros(2, 3), "bias": torch.zeros(2)}),
    save_tensors({"weight": torch.zeros(2, 3, dtype=torch.bfloat16)}),
]


@st.composite
def made_tensors(draw: st.DrawFn) -> bytes:
    """A safetensors file with an odd header."""
    entry = st.fixed_dictionaries(
        {
            "dtype": st.sampled_from(["F32", "BF16", "I64", "F4", "", None, "F8_E4M3"]),
            "shape": st.lists(st.sampled_from([0, 1, 2, 3, -1, 2**40, 1.5]), max_size=3),
            "data_offsets": st.lists(st.sampled_from([0, 8, 24, 32, 2**62, -1]), min_size=1, max_size=3),
        }
    )
    header = draw(
        st.dictionaries(
            st.sampled_from(["weight", "bias", "__metadata__", ""]), entry | st.none() | st.just({"a": "b"}), max_size=3
        )
    )
    text = json.dumps(header).encode()
    length = draw(st.sampled_from([len(text), len(text) + 1, 0, 2**40, 2**64 - 1]))
    return struct.pack("<Q", length) + text + draw(st.sampled_from([b"", b"\0" * 8, b"\0" * 32, b"\xff" * 32]))


def load_layer(folder: Path, content: bytes) -> Any:
    layer = nn.Linear(3, 2)
    weights.load_weights(written(folder, "weights.safetensors", content), layer)
    return layer.weight.shape == (2, 3)


def saved(content: Any, **options: Any) -> bytes:
    file = io.BytesIO()
    torch.save(content, file, **options)
    return file.getvalue()


STATES = {"step": 3, "model": {"weight": torch.zeros(2, 3)}, "rows": [{"loss": 0.5}]}
SAVED = [
    saved(STATES),
    saved(STATES, _use_new_zipfile_serialization=False),
    saved(Attack()),
    saved({"weight": Attack()}),
    pickle.dumps(Attack()),
]


@st.composite
def checkpoints(draw: st.DrawFn) -> bytes:
    """A file of torch.save with damage outside, or inside of its pickle."""
    if draw(st.booleans()):
        return draw(damaged(SAVED))
    with zipfile.ZipFile(io.BytesIO(SAVED[0])) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    inner = next(name for name in members if name.endswith("data.pkl"))
    pieces = st.lists(st.sampled_from(PICKLE_PIECES), max_size=12).map(b"".join)
    members[inner] = draw(damaged([members[inner], pickle.dumps(Attack(), 2)]) | pieces.map(lambda piece: b"\x80\x02" + piece))
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return file.getvalue()


def read_state(folder: Path, content: bytes) -> Any:
    state = ResumeState("run", {}, [])
    state.folder = folder / "state"
    written(state.folder, "state.pt", sealed(content, state))
    return state.load()


def sealed(payload: bytes, state: ResumeState) -> bytes:
    """A state file whose checksum is right whatever its payload."""
    about = {"version": VERSION, "run": state.run, "fingerprint": state.fingerprint, "step": 3, "made_with": {}}
    about |= {"inputs": {}, "code": {}}
    content = json.dumps(about).encode() + b"\n" + payload
    return hashlib.sha256(content).hexdigest().encode() + b"\n" + content


def read_raw_state(folder: Path, content: bytes) -> Any:
    state = ResumeState("run", {}, [])
    state.folder = folder / "state"
    written(state.folder, "state.pt", content)
    return state.load()


def read_weights_file(folder: Path, content: bytes) -> Any:
    written(folder, "net.pth", content)
    return extractors.load("efficientnet_lite0", folder)


JSONS = [
    json.dumps({"accuracy": 0.5, "protocols": {"clean": {"fd": 1e-3}}, "names": ["ü", None]}).encode(),
    b"[" * 100_000,
    b'{"a": NaN}',
    b"1" * 5000,
]


def read_plain_json(folder: Path, content: bytes) -> Any:
    return read_json(written(folder, "evaluation.json", content))


HISTORY = [b"step,loss\n1,0.5\n2,0.25\n", b"step,loss\n1,\n2,inf\n"]


def read_history(folder: Path, content: bytes) -> Any:
    written(folder, "run/history.csv", content)
    return results.Results(None, folder).history("run")


DIGITS = npz(train_images=random_bytes(2, 28, 28, 3), train_labels=np.arange(2))

TARGETS = [
    Target("npz", 1200, damaged(ARRAYS), read_split, is_split, ARRAYS[1]),
    Target("npz, made-up", 500, made_npz(), read_split, is_split),
    Target("npz of digits", 200, damaged([DIGITS]), read_digits, is_split, DIGITS),
    Target("safetensors", 800, damaged(TENSORS), load_layer, start=TENSORS[0]),
    Target("safetensors, made-up", 400, made_tensors(), load_layer),
    Target("pth", 300, checkpoints(), read_weights_file, lambda value: False),
    Target("resume state", 300, damaged([*SAVED, b"0" * 64 + b"\n{}\n"]), read_raw_state, lambda value: value is None),
    Target(
        "resume state, sealed", 400, checkpoints(), read_state, lambda value: value is None or isinstance(value, dict), SAVED[0]
    ),
    Target("json", 600, damaged(JSONS), read_plain_json, start=JSONS[0]),
    Target("history", 300, damaged(HISTORY), read_history, start=HISTORY[0]),
]
