"""docs/extend.md: its examples, put into a copy of the workflow, are found wherever they belong."""

import csv
import re
import shutil
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest
import yaml

PAGE = Path(__file__).resolve().parents[2] / "docs/extend.md"
BLOCK = re.compile(r"^`(workflow/\S+)`:\n\n```\w+\n(.*?)^```$", re.MULTILINE | re.DOTALL)
STUDY = {
    "study": "extended",
    "classes": ["naevus", "melanoma"],
    "splits": {"test": 0.3},
    "classification": {
        "losses": ["cce", "poly1", {"name": "balanced_softmax", "class_weights": "none"}],
        "backbone": "mobilenetv2_035",
        "encoder_weights": "none",
        "image_size": 32,
        "training": {"epochs": 1, "batch_size": 16},
    },
    "ensembles": {
        "top_k": [2],
        "methods": ["geometric_mean"],
        "seed_ensemble": {"further_seeds": False},
    },
    "evaluation": {"resamples": 100, "optimism_resamples": 20},
    "significance": {"permutations": 1000},
    "gradcam": {"enabled": False},
}


def examples() -> dict[str, list[tuple[str, str]]]:
    """By heading, the files of each example with what is appended to them."""
    parts = PAGE.read_text(encoding="utf-8").split("\n## ")[1:]
    return {part.split("\n", 1)[0]: BLOCK.findall(part) for part in parts}


def draw(folder: Path) -> None:
    """Pictures in the layout of the example: dark and bright ones, with a table of two columns."""
    rng = np.random.default_rng(0)
    (folder / "images").mkdir(parents=True)
    with open(folder / "labels.csv", "w", encoding="utf-8", newline="") as file:
        table = csv.writer(file)
        table.writerow(["image", "patient", "naevus", "melanoma"])
        for number in range(72):
            melanoma = number % 3 == 0
            noise = rng.integers(0, 60, (40, 40), dtype=np.uint8)
            cv2.imwrite(str(folder / f"images/{number:03}.png"), noise + 120 * melanoma)
            table.writerow([f"{number:03}", f"p{number // 2}", int(not melanoma), int(melanoma)])
        table.writerow(["absent", "p99", 1, 0])


@pytest.fixture(scope="module")
def extended(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the workflow with all examples of the page."""
    checkout = tmp_path_factory.mktemp("extended") / "checkout"
    ignored = shutil.ignore_patterns(".git", ".venv", ".snakemake", "results", "__pycache__")
    shutil.copytree(PAGE.parents[1], checkout, ignore=ignored, symlinks=True)
    for blocks in examples().values():
        for name, text in blocks:
            path = checkout / name
            before = path.read_text(encoding="utf-8") + "\n\n" if path.exists() else ""
            path.write_text(before + text, encoding="utf-8")
    return checkout


def run(checkout: Path, *command: str) -> str:
    done = subprocess.run(
        [sys.executable, *command],
        cwd=checkout,
        env={"PYTHONPATH": "workflow", "PATH": "/usr/bin:/bin", "TF_CPP_MIN_LOG_LEVEL": "3"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-6000:]
    return done.stdout


def test_each_example_is_one_file_and_a_figure_or_table_its_entry_too() -> None:
    touched = {heading: len(blocks) for heading, blocks in examples().items()}
    assert (touched.pop("A figure"), touched.pop("A section of the report")) == (2, 2)
    assert len(touched) == 6 and set(touched.values()) == {1}


def test_a_section_shows_its_table(extended: Path) -> None:
    code = (
        "import sys; import pandas as pd\n"
        "from types import SimpleNamespace as N\n"
        "from multiloss.report import templates\n"
        "from multiloss.report.results import Table\n"
        "t = Table({'split': ['test'] * 4 + ['val'], 'label': list('aabca')})\n"
        "config = {'classes': ['a', 'b', 'c']}\n"
        "facts = N(config=config, results=N(table=lambda name: t), alpha=0.05)\n"
        "found = templates.section('28_chance.html.j2', facts, None, {})\n"
        "print(' '.join(str(found.finding).split()))\n"
        "table = found.blocks[0]\n"
        "rows = [[cell.text for cell in row] for row in table.rows]\n"
        "print(table.title, [column.label for column in table.columns], rows)"
    )
    assert run(extended, "-c", code).splitlines() == [
        "Calling every image a is correct in 2 of 4 test images, an accuracy of 0.50 with an MCC "
        "of 0.",
        "Naming one class for every image ['Class named', 'Accuracy', 'Test images'] "
        "[['a', '0.50', '2'], ['b', '0.25', '1'], ['c', '0.25', '1']]",
    ]


def test_schema_and_reference_know_the_examples(extended: Path) -> None:
    page = run(
        extended, "-c", "from multiloss.config import reference as r; print(r.page(), r.schema())"
    )
    for name in ("poly1", "epsilon", "balanced_softmax", "geometric_mean", "mobilenetv2_035"):
        assert name in page, name


def test_a_family_has_a_segmenter_too(extended: Path) -> None:
    shapes = run(
        extended, "-c",
        "from multiloss.networks import backbones as b, classifier as c;"
        "u = b.unet('mobilenetv2_035', 64); m = c.build_classifier(u, 'mobilenetv2_035', 3, 32, 0);"
        "print(u.output_shape, m.output_shape, m.get_layer('dcl').output.shape)",
    )  # fmt: skip
    assert shapes.split("\n")[0] == "(None, 64, 64, 1) (None, 3) (None, 2, 2, 512)"


def test_a_study_shows_all_of_them(extended: Path, tmp_path: Path) -> None:
    draw(tmp_path / "skin")
    source = {"name": "skin", "role": "classification", "layout": "one_hot"}
    config = STUDY | {"data": {"sources": [source | {"url": str(tmp_path / "skin")}]}}
    (tmp_path / "study.yaml").write_text(yaml.safe_dump(config), encoding="utf-8")
    run(
        extended, "-m", "snakemake", "--cores", "2", "--directory", str(tmp_path),
        "--configfile", str(tmp_path / "study.yaml"),
    )  # fmt: skip
    results = tmp_path / "results/extended"
    manifest = pd.read_csv(results / "data/manifest.csv")
    assert manifest["label"].value_counts().to_dict() == {"naevus": 48, "melanoma": 24}
    rejected = pd.read_csv(results / "data/rejected.csv")
    assert rejected["reason"].tolist() == ["its file is missing"]
    models = set(pd.read_csv(results / "data/models.csv")["model"])
    ensemble = "geometric_mean-top2-r0"
    assert models == {"cce-r0", "poly1-r0", "balanced_softmax-r0", ensemble}

    metrics = pd.read_csv(results / "tables/metrics.csv")
    metrics = metrics[metrics["split"] == "test"].set_index(["model", "metric"])["value"]
    for model in models:
        parts = [metrics[model, f"recall_{name}"] for name in config["classes"]]
        assert metrics[model, "g_mean"] == pytest.approx(np.sqrt(np.prod(parts)), nan_ok=True)

    members = pd.read_csv(results / "ensembles/members.csv")
    names = members.loc[members["ensemble"] == ensemble, "member"]
    columns = [f"p_{name}" for name in config["classes"]]
    p = [pd.read_csv(results / f"predictions/{name}.csv")[columns].to_numpy() for name in names]
    expected = np.sqrt(p[0] * p[1])
    combined = pd.read_csv(results / f"predictions/{ensemble}.csv")[columns].to_numpy()
    np.testing.assert_allclose(combined, expected / expected.sum(axis=1, keepdims=True), atol=1e-6)

    significance = pd.read_csv(results / "tables/significance.csv")
    assert {"poly1-r0", ensemble} <= set(significance["model_a"])
    assert (results / "figures/imbalance_ratio.png").stat().st_size > 5000
    page = (results / "report.html").read_text(encoding="utf-8")
    told = re.sub(r"\s+", " ", re.sub("<[^>]*>", "", re.sub(r"data:[^\"]*", "", page)))
    for text in (
        "Poly-1", "weight on the probability that the true class lacks", "balanced softmax",
        "eometric mean of the members", "G-mean", "MobileNetV2 (0.35)",
        "Imbalance of the classes", "The largest class has 2", "What guessing reaches",
        "Calling every image naevus is correct in", "Naming one class for every image",
    ):  # fmt: skip
        assert text in told, text
