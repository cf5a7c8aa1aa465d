"""What README says of a study of real radiographs is what that study found."""

import json
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "docs"))

import example  # noqa: E402

FACTS = {
    "study": "real-mini",
    "config": "tests/studies/real-mini.yaml",
    "size": 96,
    "images": 1140,
    "patients": 812,
    "runs": 1,
    "epochs": 18,
    "answer": "No loss was shown to beat cross-entropy.",
    "chosen": "focal loss",
    "mcc": [0.7149, 0.6, 0.805],
    "test": "240 images of 154 patients",
    "detectable": 0.123,
}


def test_readme_holds_the_paragraph_of_the_facts() -> None:
    known = ROOT / "docs/example/facts.json"
    if not known.is_file():
        pytest.skip("docs/example is not written yet")
    text = example.paragraph(json.loads(known.read_text(encoding="utf-8")))
    assert f"{example.MARKS[0]}\n{text}\n{example.MARKS[1]}" in (ROOT / "README.md").read_text()


def test_every_number_is_from_the_facts() -> None:
    said = " ".join(example.paragraph(FACTS).split())
    assert said.startswith("On 1,140 real radiographs of 812 patients at 96 × 96 pixels, one run")
    assert "run of each loss of 18 epochs ([`tests" in said
    assert (
        "**No loss was shown to beat cross-entropy.** The model chosen before testing, focal"
        in said
    )
    assert "an MCC of 0.71 (95% CI 0.60 to 0.81) on 240 images of 154 patients. Differences" in said
    assert "below about 0.12 would probably" in said
    unknown = example.paragraph(FACTS | {"detectable": None, "runs": 3})
    assert "missed" not in unknown and "3 runs of each loss of 18 epochs" in " ".join(
        unknown.split()
    )
    hopeless = " ".join(example.paragraph(FACTS | {"detectable": 2.84}).split())
    assert "no difference, however large, would have been found" in hopeless
    assert "2.84" not in hopeless
