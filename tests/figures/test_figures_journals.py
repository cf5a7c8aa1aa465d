"""Every figure of the catalogue, as each journal asks for it."""

import itertools
import re

import numpy as np
import pandas as pd
import pytest
import synthetic_results
from drawn import drawn_texts, few, paint, unreadable
from matplotlib import font_manager
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.lines import Line2D
from multiloss import config as study_config
from multiloss.config.models import Figures
from multiloss.figures import catalog, drawing, style
from multiloss.figures.journals import JOURNALS
from PIL import Image
from pydantic import ValidationError

ODD = [
    *("No Finding", '_<b>5 & $x_1$ "mm"', "Cardiomegaly", "None", "nan", "a$x_1$", "\u05d1\u05e8"),
    *("\u0633\u0644\u0627\u0645", "Pneumothorax", "Edema, " * 28 + "last", "Emphysema", "'s'"),
    *("Fibrosis", "Pleural_Thickening", "Pleural effusion or haemothorax, Grade II/III (post-op)"),
]
# Few losses where only their number of classes matters, all of them in one study.
STUDIES = {
    "two": {"classes": 2, "losses": ["cce", "focal", "calibrated_cce"], "lesions": False},
    "three": {"classes": 3, "ablations": ("without_crop", "without_class_weights")},
    "seven": {
        "classes": 7,
        "losses": ["cce", "calibrated_cce", "kl_divergence", "calibrated_negative_entropy"],
        "replicates": 4,
    },
    "fifteen": {"classes": ODD, "losses": ["cce", "focal", "calibrated_cce"]},
}
# Each journal and each study once; all pairs in the long tests.
PAIRS = [("none", "two"), ("plos", "three"), ("nature", "seven"), ("lancet", "fifteen")]
SLOW = [pair for pair in itertools.product(JOURNALS, STUDIES) if pair not in PAIRS]


@pytest.fixture(scope="module")
def studies(tmp_path_factory):
    """Made-up studies by name, each made when it is first asked for."""
    made = {}

    def study(name):
        if name not in made:
            folder = tmp_path_factory.mktemp(name)
            made[name] = synthetic_results.make(folder, test_images=60, **STUDIES[name])
        return made[name]

    return study


@pytest.fixture(autouse=True)
def closed():
    yield
    plt.close("all")


def faults(name, result, journal) -> list[str]:
    """What of a drawn figure is not as its journal asks."""
    preset, canvas = JOURNALS[journal], result.canvas
    found = unreadable(canvas, preset.smallest, preset.largest)
    width, height = canvas.get_size_inches() * 25.4
    if round(width, 3) not in (preset.single_column_mm, preset.double_column_mm):
        found.append(f"{width:.1f} mm wide")
    if height > preset.max_height_mm + 1e-6:
        found.append(f"{height:.1f} mm high")
    if not result.facts or result.data.empty:
        found.append("no facts or no data")
    texts = drawn_texts(canvas)
    fonts = {font_manager.get_font(font_manager.findfont(t.get_fontproperties())) for t in texts}
    if not {font.family_name for font in fonts} <= set(preset.fonts):
        found.append("another font")
    said = " ".join(text.get_text() for text in texts).replace("\N{NO-BREAK SPACE}", " ")
    if not re.search(r"\d (\w+ )?image|n = \d|\d job|\d of \d", said):
        found.append("says no n")
    for axes in canvas.findobj(Axes):
        if any(tick % 1 > 0 for tick in axes.get_xticks()) and axes.get_xlabel() == "epoch":
            found.append("parts of epochs")
    return [f"{name}: {text}" for text in found]


@pytest.mark.parametrize(
    ("journal", "study"),
    [*PAIRS, *(pytest.param(*pair, marks=pytest.mark.slow) for pair in SLOW)],
)
def test_every_figure_is_as_its_journal_asks(studies, monkeypatch, journal, study):
    """Size, letters, fonts, nothing cut off, no text on another, data beside it."""
    made = studies(study)
    problems = []
    for name in few(catalog.figures(made.config)):
        result = paint(made, name, monkeypatch, journal=journal)
        problems += faults(name, result, journal)[:4]
        plt.close(result.canvas)
    assert not problems
