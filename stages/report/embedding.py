"""t-SNE's points for the page: the same few columns for every method, and one sheet of a pair's test images."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from stages.report.gallery import QUALITY, as_colour, holds
from stages.report.pictures import picture
from stages.report.results import Results
from stages.runtime.errors import UserError
from stages.runtime.images import load_arrays, tile

COLUMNS = 40
ARRAYS = {"source": "source_test_images", "target": "test_images"}


def points(results: Results, pair: str) -> dict[str, Any]:
    """By method, columns x, y, label, prediction, domain and `image`, the place in the sheet; and the sheet, if there are images.

    Coordinates are whole thousandths of the picture's width and height, which is finer than a screen.
    """
    tables = {method: results.embedding(pair, method) for method in results.study.methods}
    keys = pd.concat([table[["domain", "index"]] for table in tables.values()]).drop_duplicates()
    places = {key: place for place, key in enumerate(keys.itertuples(index=False, name=None))}
    return {
        "methods": {method: _columns(table, places) for method, table in tables.items()},
        "sprite": _sprite(Path("data/pairs") / pair / "test.npz", list(places)),
    }


def _columns(table: pd.DataFrame, places: dict[tuple[str, int], int]) -> dict[str, list[Any]]:
    image = [places[key] for key in table[["domain", "index"]].itertuples(index=False, name=None)]
    kept = {name: [int(value) for value in table[name]] for name in ("label", "prediction")}
    domain = ["target" if value == "target" else "source" for value in table["domain"]]
    return {**{axis: _thousandths(table[axis]) for axis in ("x", "y")}, **kept, "domain": domain, "image": image}


def _thousandths(values: pd.Series) -> list[int]:
    low, high = values.min(), values.max()
    return ((values - low) / (high - low or 1) * 1000).round().astype(int).tolist()


def _sprite(path: Path, keys: list[tuple[str, int]]) -> dict[str, Any] | None:
    """The images of `keys`, domain and index, as one sheet; None where the pair's images are not here."""
    if not all(holds(path, name) for name in ARRAYS.values()):
        return None
    arrays = dict(zip(ARRAYS, load_arrays(path, *ARRAYS.values()), strict=True))
    if any(not 0 <= index < len(arrays[domain]) for domain, index in keys):
        raise UserError(f"{path} is of another run than the embedding: run `dvc repro`")
    images = np.stack([as_colour(arrays[domain][index]) for domain, index in keys])
    drawn = picture(tile(images, COLUMNS, gap=0), quality=QUALITY)
    return {"src": drawn.src, "columns": COLUMNS, "rows": -(-len(keys) // COLUMNS), "side": images.shape[1]}
