"""With everything that the paper preset makes, at its size, the page stays below 10 MB."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml

from stages.report import page
from stages.runtime.images import save_arrays
from tests.report import conftest

pytestmark = pytest.mark.slow


def photographs(count: int, side: int) -> np.ndarray:
    """Smooth colours under noise, which take more bytes than photographs do."""
    generator = np.random.default_rng(0)
    coarse = generator.uniform(30, 220, (count, side // 4, side // 4, 3)).repeat(4, axis=1).repeat(4, axis=2)
    smooth = sum(np.roll(coarse, (x, y), (1, 2)) for x in range(4) for y in range(4)) / 16
    return (smooth + generator.normal(0, 4, smooth.shape)).clip(0, 255).astype(np.uint8)


def embedding(points: int) -> pd.DataFrame:
    generator = np.random.default_rng(1)
    table = pd.DataFrame({"index": np.tile(np.arange(points), 2), "domain": np.repeat(["source", "target"], points)})
    table[["label", "prediction"]] = generator.integers(0, 10, (2 * points, 2))
    return table.assign(x=generator.normal(size=2 * points), y=generator.normal(size=2 * points))


def test_the_paper_preset_s_page_is_below_10_mb(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(conftest, "images", lambda count, side: photographs(count, 64 if side == 8 else side))
    content = yaml.safe_load((conftest.ROOT / "presets/paper.yaml").read_text())
    points, methods = content["embedding"]["points"], content["adaptation"]["methods"]
    assert methods == ["source_only", "dann", "dsn"]
    conftest.write_study(content)
    conftest.summarise_with_a_blank_picture()
    faces = photographs(40, 64)
    save_arrays("data/prepared/celeba.npz", train_images=faces, test_images=faces)
    conftest.write_neighbours()
    save_arrays(
        "samples/stylegan2-0.npz",
        **dict.fromkeys(("report_images", "clean_images", "untrained_images"), faces),
        interpolation_images=photographs(36, 64).reshape(4, 9, 64, 64, 3),
    )
    for run, side, count in (("stylegan2-0", 64, 32), ("acgan-0", 28, 100)):
        steps = content[run.split("-")[0]]["train"]["snapshots"]
        sheets = np.stack([photographs(count, side)] * steps)
        save_arrays(f"results/{run}/snapshots.npz", steps=np.arange(steps), images=sheets)
    for pair in content["adaptation"]["pairs"]:
        digits = photographs(points, 28)
        save_arrays(f"data/pairs/{pair}/test.npz", test_images=digits, source_test_images=digits)
        kinds = np.stack([photographs(10, 28)] * 4)
        save_arrays(f"results/{pair}-dsn/reconstructions.npz", source_images=kinds, target_images=kinds)
        for method in methods:
            embedding(points).to_csv(f"results/{pair}-{method}/embedding.csv", index=False)
    page.main()
    size = Path("report/index.html").stat().st_size
    assert 2e6 < size < 10e6
