"""A user's own images: faces and digits drawn here, in the layout that data/README.md describes, and params that use them."""

import copy
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageFont


def of_folders(params: dict[str, Any], faces: Path, digits: Path) -> dict[str, Any]:
    """Params that use the folders `myfaces` and `mydigits` in the place of every data set but mfeat."""
    changed = copy.deepcopy(params)
    changed["data"]["datasets"] = {"mfeat": params["data"]["datasets"]["mfeat"]}
    changed["data"]["folders"] = {"myfaces": str(faces), "mydigits": str(digits)}
    changed["stylegan2"]["dataset"] = "myfaces"
    changed["acgan"]["dataset"] = changed["judge"]["dataset"] = "mydigits"
    (pair,) = params["adaptation"]["pairs"].values()
    changed["adaptation"]["pairs"] = {"mydigits-mfeat": pair | {"source": "mydigits", "target": "mfeat", "max_source": None}}
    return changed


def draw_faces(folder: Path, train: int, test: int) -> Path:
    """Ovals with eyes on a coloured ground, JPEG, each of another size."""
    random = np.random.default_rng(0)
    for split, count in (("train", train), ("test", test)):
        (folder / split).mkdir(parents=True)
        for number in range(count):
            width, height = random.integers(40, 80, 2)
            image = Image.new("RGB", (int(width), int(height)), tuple(random.integers(0, 256, 3).tolist()))
            draw = ImageDraw.Draw(image)
            draw.ellipse((width // 5, height // 8, width - width // 5, height - height // 8), fill=(220, 180, 150))
            for eye in (width // 3, 2 * width // 3):
                draw.ellipse((eye - 3, height // 3 - 3, eye + 3, height // 3 + 3), fill=(30, 30, 30))
            image.save(folder / split / f"{number:04d}.jpg")
    return folder


def draw_digits(folder: Path, train: int, test: int) -> Path:
    """Grey digits in the middle of their image, PNG, with train.csv and test.csv."""
    random = np.random.default_rng(1)
    font = ImageFont.load_default(24)
    for split, count in (("train", train), ("test", test)):
        (folder / split).mkdir(parents=True)
        lines = ["image_name,label"]
        for number in range(count):
            label = number % 10
            image = Image.new("L", (32, 32), int(random.integers(0, 100)))
            place = (16 + int(random.integers(-3, 4)), 16 + int(random.integers(-3, 4)))
            ImageDraw.Draw(image).text(place, str(label), fill=int(random.integers(160, 256)), font=font, anchor="mm")
            image.save(folder / split / f"{number:05d}.png")
            lines.append(f"{number:05d}.png,{label}")
        (folder / f"{split}.csv").write_text("\n".join(lines) + "\n")
    return folder
