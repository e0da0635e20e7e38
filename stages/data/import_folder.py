"""Bring a user's own folder of images to data/prepared/NAME.npz, as `prepare` does with the catalogue's data sets.

PATH/train and PATH/test hold PNG or JPEG files. With PATH/train.csv and PATH/test.csv (columns image_name and label) they are
digits, brought to 28x28, in the order of the csv; without any csv they are faces, brought to data.folder_face_size, in the order
of their names and without labels. Whatever is wrong with the folder is named, and then nothing is written.

    python -m stages.data.import_folder mydigits
"""

import csv
import io
from collections import Counter
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Annotated, NamedTuple

import numpy as np

from stages.data.pictures import DIGIT_SIDE, centred_square, progress, read_rgb, unify
from stages.runtime import params
from stages.runtime.errors import UserError
from stages.runtime.images import Blocks, save_arrays
from stages.runtime.stage import run

PREPARED = Path("data/prepared")
SPLITS = ("train", "test")
LABELS = {str(digit): digit for digit in range(10)}
# So many names stand in a message, and so many characters of one; the count is of all.
NAMED = 10
LONGEST = 200
# What systems leave in folders unasked, beside files whose names begin with a dot.
CLUTTER = {"thumbs.db", "desktop.ini", "__macosx"}


class Listed(NamedTuple):
    """The pictures of one split, and for digits as many labels."""

    paths: list[Path]
    labels: list[int] | None


def main(name: Annotated[str, "name of the folder", "data.folders"]) -> None:
    face_size, path = params.read("data.folder_face_size", f"data.folders.{name}")
    folder = Path(path)
    save_arrays(PREPARED / f"{name}.npz", **decode(folder, list_all(folder), face_size))


def list_all(folder: Path) -> dict[str, Listed]:
    """What there is of each split; UserError with everything that is missing, extra or wrong, before a picture is opened."""
    if not folder.is_absolute() or not folder.is_dir():
        raise UserError(f"data.folders: {folder} is no folder; give the absolute path of one that holds train/ and test/")
    problems: list[str] = []
    try:
        tables = [split for split in SPLITS if (folder / f"{split}.csv").exists()]
        strange = {name for path in folder.iterdir() if (name := path.name).lower().endswith(".csv") and visible(name)}
        strange -= {f"{split}.csv" for split in SPLITS}
        if strange:
            problems.append(f"{counted(strange, 'csv file')} besides train.csv and test.csv: {names_in(strange)}")
        if len(tables) == 1:
            [other] = set(SPLITS) - set(tables)
            problems.append(f"{tables[0]}.csv but no {other}.csv (digits need both, faces none)")
        lister = _list_digits if tables else _list_faces
        listed = {split: lister(folder, split, problems) for split in SPLITS}
    except OSError as error:
        raise UserError(f"{error.filename or folder} can't be read: {error.strerror}") from None
    _refuse(folder, problems)
    return listed


def decode(folder: Path, listed: dict[str, Listed], face_size: int) -> dict[str, np.ndarray | Blocks]:
    """`train_images` and `test_images`, (n, side, side, 3); of digits `train_labels` and `test_labels` too, int64 (n,).

    Pictures are opened as they are written. After the last one comes a UserError if any of them can't be read.
    """
    problems: list[str] = []
    arrays: dict[str, np.ndarray | Blocks] = {}
    for split, (paths, labels) in listed.items():
        side = face_size if labels is None else DIGIT_SIDE
        arrays[f"{split}_images"] = Blocks((len(paths), side, side, 3), _pictures(folder, split, listed[split], side, problems))
        if labels is not None:
            arrays[f"{split}_labels"] = np.array(labels, np.int64)
    return arrays


def _pictures(folder: Path, split: str, listed: Listed, side: int, problems: list[str]) -> Iterator[np.ndarray]:
    """Each picture of the split as uint8 (1, side, side, 3), black where it can't be read, which joins the problems."""
    unreadable = []
    for path in progress(listed.paths, len(listed.paths), f"{folder.name}/{split}"):
        try:
            picture = read_rgb(path)
        except ValueError as error:
            unreadable.append(f"{path.name} ({error})")
            yield np.zeros((1, side, side, 3), np.uint8)
        else:
            yield centred_square(picture, side)[None] if listed.labels is None else unify(np.asarray(picture)[None], side)
    if unreadable:
        problems.append(f"{counted(unreadable, 'file')} in {split}/ that can't be read: {names_in(unreadable)}")
    if split == SPLITS[-1]:
        _refuse(folder, problems)


def _list_faces(folder: Path, split: str, problems: list[str]) -> Listed:
    """Every file of the split, by name."""
    names = sorted(filter(visible, files_in(folder, split, problems)))
    return Listed([folder / split / name for name in names], None)


def _list_digits(folder: Path, split: str, problems: list[str]) -> Listed:
    """What the split's csv lists, in its order; its files must be these and no others."""
    files, table = files_in(folder, split, problems), f"{split}.csv"
    if not files or not (folder / table).exists():
        return Listed([], [])
    try:
        rows = _rows(folder / table)
    except (ValueError, csv.Error) as error:
        problems.append(f"{table} can't be read: {error}")
        return Listed([], [])
    times = Counter(name for name, _ in rows)
    odd = {name for name in times if name in ("", ".", "..") or "/" in name or "\\" in name}
    faults = [
        ("image_name", f"in {table} that can't be a file's name", odd),
        ("image_name", f"more than once in {table}", [name for name, count in times.items() if count > 1]),
        ("label", f"in {table} other than 0 to 9", [f"{name} ({label})" for name, label in rows if label not in LABELS]),
        ("file", f"listed in {table} but missing from {split}/", times.keys() - files - odd),
        ("file", f"in {split}/ but not listed in {table}", set(filter(visible, files)) - times.keys()),
    ]
    problems += [f"{counted(names, thing)} {fault}: {names_in(names)}" for thing, fault, names in faults if names]
    return Listed([folder / split / name for name, _ in rows], [LABELS.get(label, -1) for _, label in rows])


def files_in(folder: Path, split: str, problems: list[str]) -> set[str]:
    """The names of the files in the split's folder, of which there must be some and no folder among them."""
    if not (folder / split).is_dir():
        problems.append(f"no folder {split}/")
        return set()
    files, others = set(), set()
    for path in (folder / split).iterdir():
        (files if path.is_file() else others).add(path.name)
    others = set(filter(visible, others))
    if others:
        problems.append(f"{counted(others, 'entry')} in {split}/ besides files: {names_in(others)}")
    elif not any(map(visible, files)):
        problems.append(f"{split}/ holds no pictures")
    return files


def _rows(table: Path) -> list[tuple[str, str]]:
    """The csv's (image_name, label), as they stand there; ValueError or csv.Error with what is wrong."""
    # The BOM that spreadsheets write is no part of the first column's name.
    text = table.read_bytes().decode("utf-8-sig")
    header, *rows = [row for row in csv.reader(io.StringIO(text, newline=""), strict=True) if row] or [[]]
    columns = [column.strip() for column in header]
    if not {"image_name", "label"} <= set(columns):
        raise ValueError(f"its columns are {_shown(', '.join(columns))}, not image_name and label (faces need no csv)")
    if not rows:
        raise ValueError("it lists no pictures")
    name, label = columns.index("image_name"), columns.index("label")
    return [(row[name].strip() if name < len(row) else "", row[label].strip() if label < len(row) else "") for row in rows]


def visible(name: str) -> bool:
    return not name.startswith(".") and name.lower() not in CLUTTER


def counted(names: Collection[str], thing: str) -> str:
    plural = thing.removesuffix("y") + "ies" if thing.endswith("y") else thing + "s"
    return f"{len(names)} {thing if len(names) == 1 else plural}"


def names_in(names: Collection[str]) -> str:
    """The first names in order, each readable in one line."""
    shown = [_shown(name) for name in sorted(names)[:NAMED]]
    return ", ".join(shown) + (f" and {len(names) - NAMED} more" if len(names) > NAMED else "")


def _shown(name: str) -> str:
    name = name if len(name) <= LONGEST else f"{name[:LONGEST]}..."
    return name if name and name.isprintable() else repr(name)


def _refuse(folder: Path, problems: list[str]) -> None:
    if problems:
        raise UserError(f"{folder} is not as data/README.md describes such a folder: {'; '.join(problems)}")


if __name__ == "__main__":
    run(main)
