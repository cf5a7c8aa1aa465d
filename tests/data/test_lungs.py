"""The arrays that the segmenters are trained on: what they hold, and what harmed files say."""

import hashlib
import runpy
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from jobs import Named
from multiloss.data.images import read_grey, resize, write_png


@pytest.fixture
def study(root, tmp_path, monkeypatch):
    """Runs the rule's script on two images, one with its mask in two files."""
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    left, right = np.zeros((2, 40, 80), bool)
    left[:, :20], right[:, 60:] = True, True
    rows = []
    for name, masks in {"NA": [left, right], "b": [left]}.items():
        path = Path(f"{name}.png")
        write_png(rng.integers(0, 256, left.shape).astype(np.uint8), path)
        paths = [f"{name} mask {number}.png" for number in range(len(masks))]
        for mask, mask_path in zip(masks, paths, strict=True):
            write_png(mask, mask_path)
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        size = {"width": 80, "height": 40, "bits": 8}
        row = {"image_id": name, "path": path, "patient_id": name, "split": "train", **size}
        rows.append(row | {"sha256": digest, "mask_paths": ";".join(paths)})
    pd.DataFrame(rows).to_csv("lungs.csv", index=False)
    snakemake = SimpleNamespace(
        rule="lungs",
        wildcards=[],
        log=["lungs.log"],
        input=Named(lungs="lungs.csv"),
        output=Named(images="images.npy", masks="masks.npy"),
        params=SimpleNamespace(size=20),
    )
    script = str(root / "workflow" / "scripts" / "lungs.py")
    return lambda: runpy.run_path(script, {"snakemake": snakemake})


def test_arrays(study):
    study()
    images, masks = np.load("images.npy"), np.load("masks.npy")
    assert (images[1] == resize(read_grey("b.png"), 20)).all()
    assert masks.dtype == np.uint8 and masks.shape == (2, 20, 20)
    assert masks[:, 0].tolist() == [[1] * 5 + [0] * 10 + [1] * 5, [1] * 5 + [0] * 15]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("b.png", "b.png: has changed since it was checked: put the file back"),
        ("b mask 0.png", "b.png: mask b mask 0.png: unreadable, truncated or not an image: put"),
    ],
)
def test_harmed_file_is_named_and_no_array_is_written(study, name, message, capsys):
    Path(name).write_bytes(b"no image")
    with pytest.raises(SystemExit):
        study()
    shown = capsys.readouterr().err
    assert message in shown and shown.strip().count("\n") == 0
    assert not list(Path().glob("*.npy"))
