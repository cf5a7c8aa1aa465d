"""Every figure of the catalogue, as each journal asks for it."""

import base64
import collections
import io
import itertools
import json
import re
import zlib
from typing import get_args

import numpy as np
import pandas as pd
import pytest
import synthetic_results
from drawn import drawn_texts, few, paint, unreadable
from matplotlib import font_manager
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from multiloss import config as study_config
from multiloss.config.models import Figures
from multiloss.figures import catalog, drawing, photographs, style
from multiloss.figures.journals import JOURNALS
from multiloss.job.errors import UserError
from multiloss.study import Study
from PIL import Image

LISTED = ["cce", *(loss for loss in synthetic_results.LOSSES if loss != "cce")]
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
        "losses": ["cce", "kl_divergence", "calibrated_negative_entropy"],
        "replicates": 2,
    },
    "fifteen": {"classes": ODD, "losses": ["cce", "focal", "calibrated_cce"]},
}
# What no figure of those studies shows; the tables that it takes, and the figures.
FURTHER = {
    "apart": (
        {"external": ("hospital-b", "hospital-c"), "subgroups": ("sex", "source")},
        ("external", "subgroups"),
    ),
    "in turns": ({"folds": 3, "replicates": 3}, ("folds",)),
}
# Figures without any transparency: their bands are colours of their own.
OPAQUE = ("splits", "forest_mcc", "gains", "recall", "optimism", "folds", "external", "subgroups")
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


# Figures by how many marks and words each of their models has at least.
OF_MODELS = {
    **{"forest_mcc": 2, "gains": 3, "recall": 3, "calibration": 2, "rank": 3, "optimism": 3},
    **{"reliability": 3, "roc": 1, "pr": 1},
}


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
    if not re.search(r"\d (\w+ )?image|n = \d|\d job|\d masks|\(\d+ patients?\)|\d of \d", said):
        found.append("says no n")
    drawn = [artist for artist in canvas.findobj() if artist.get_visible()]
    if name in OPAQUE and any(artist.get_alpha() not in (None, 1) for artist in drawn):
        found.append("seen through")
    for axes in canvas.findobj(Axes):
        lines = [
            tick.gridline for axis in (axes.xaxis, axes.yaxis) for tick in axis.get_major_ticks()
        ]
        if not preset.grid and any(line.get_visible() for line in lines):
            found.append("grid lines")
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


@pytest.fixture(scope="module", params=FURTHER)
def further(request, tmp_path_factory):
    options, figures = FURTHER[request.param]
    made = synthetic_results.make(
        tmp_path_factory.mktemp("further"), test_images=90, losses=["cce", "focal", "hinge"],
        gradcam=False, save_images=False, with_tables=False, **options,
    )  # fmt: skip
    wanted = ["metrics", "operating_points", "degenerate", "external", "subgroups"]
    wanted = ["folds", "fold_comparisons"] if figures == ("folds",) else wanted
    synthetic_results.tables(made.results, made.config, only=wanted)
    return made, figures


@pytest.mark.parametrize("journal", JOURNALS)
def test_figures_of_some_studies_are_as_their_journal_asks(further, monkeypatch, journal):
    made, names = further
    for name in names:
        result = paint(made, name, monkeypatch, journal=journal)
        assert not faults(name, result, journal)


@pytest.mark.slow
@pytest.mark.parametrize("journal", JOURNALS)
def test_pages_of_sixty_ways_of_training_hold_all_rows(tmp_path, monkeypatch, journal):
    losses = [{"name": loss, "as": f"{loss}_{k}"} for k in range(5) for loss in LISTED]
    losses[0] = "cce"
    made = synthetic_results.make(
        tmp_path, test_images=40, losses=losses, replicates=2, gradcam=False, save_images=False,
        with_tables=False,
    )  # fmt: skip
    wanted = ["metrics", "confusion", "significance", "replicate_comparisons", "degenerate"]
    wanted += ["ensemble_comparisons", "against_baseline", "calibration_scores"]
    synthetic_results.tables(made.results, made.config, 5, 19, only=wanted)
    drawn: dict[str, list[str]] = {}
    for name in catalog.figures(made.config):
        first, _, page = name.partition("_mcc")[0].partition("_")
        if first in ("forest", "recall", "calibration", "gains") and (not page or page.isdigit()):
            result = paint(made, name, monkeypatch, journal=journal)
            assert not faults(name, result, journal)
            axes = result.canvas.axes[0]
            drawn.setdefault(first, []).extend(text.get_text() for text in axes.get_yticklabels())
            plt.close(result.canvas)
    rows = len(losses) + len({name.rpartition("-r")[0] for name in made.ensembles})
    for first in ("forest", "recall", "calibration"):
        assert len(drawn[first]) == len(set(drawn[first])) == rows, first


@pytest.mark.parametrize(
    ("journal", "study"),
    [("plos", "two"), *(pytest.param(*pair, marks=pytest.mark.slow) for pair in PAIRS[1:])],
)
def test_a_machine_without_arial_keeps_the_sizes(studies, monkeypatch, journal, study):
    """Matplotlib's own font is wider: what fits must fit there too."""
    monkeypatch.setattr(style, "_first_present", lambda fonts: fonts[-1])
    test_every_figure_is_as_its_journal_asks(studies, monkeypatch, journal, study)
    assert plt.rcParams["font.family"][0] == "DejaVu Sans"


ENDINGS = ("png", "tif", "svg", "pdf", "csv", "json")


@pytest.mark.parametrize("journal", JOURNALS)
def test_files_are_opaque_dated_nowhere_and_hold_their_fonts(
    studies, monkeypatch, tmp_path, journal
):
    made, preset = studies("three"), JOURNALS[journal]
    monkeypatch.chdir(made.folder)
    figure = catalog.figures(made.config)["learning_curves"]
    paths = {ending: tmp_path / f"x.{ending}" for ending in ENDINGS}
    options = {"journal": journal}
    drawing.draw(figure.draw, figure.params, figure.files(made.results), options, *paths.values())
    for ending in ("png", "tif"):
        with Image.open(paths[ending]) as image:
            assert image.mode == "RGB"
            assert image.info["dpi"] == pytest.approx((preset.dpi, preset.dpi), abs=0.01)
            width, height = np.array(image.size) / preset.dpi * 25.4
            assert width == pytest.approx(preset.double_column_mm, abs=0.1)
            assert height <= preset.max_height_mm
            assert ending == "png" or image.info["compression"] == "tiff_lzw"
            corner = image.getpixel((0, 0))
        assert paths[ending].stat().st_size < 10e6
        assert corner == (255, 255, 255)
    page = paths["pdf"].read_bytes()
    assert b"/FontFile2" in page and b"/CIDFontType2" in page and b"/Type3" not in page
    assert b"Date" not in page
    fonts = {name.partition(b"+")[2] for name in re.findall(rb"/BaseFont /(\S+)", page)}
    assert {name.partition(b"-")[0] for name in fonts} <= {
        font.replace(" ", "").encode() for font in preset.fonts
    }
    vector = paths["svg"].read_text(encoding="utf-8")
    assert "<dc:date>" not in vector and ">validation MCC</text>" in vector
    widths = [float(text) for text in re.findall(r"stroke-width: ([0-9.]+)", vector)]
    assert min(widths) >= preset.thinnest
    data = pd.read_csv(paths["csv"])
    history = pd.read_csv(made.results / "models/cce/0.history.csv")
    assert (
        data.loc[data["model"] == "cross-entropy", "val_mcc"].tolist()
        == history["val_mcc"].tolist()
    )
    assert "image" in json.loads(paths["json"].read_text(encoding="utf-8"))["facts"]


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("dpi", 200, "plos takes at least 300, not 200"),
        ("dpi", 700, "plos takes at most 600, not 700"),
        ("font_size", 7, "plos takes at least 8, not 7"),
        ("font_size", 13, "plos takes at most 12, not 13"),
        ("single_column_mm", 60, "plos takes at least 66.8, not 60"),
        ("double_column_mm", 195, "plos takes at most 190.5, not 195"),
    ],
)
def test_what_a_journal_does_not_take_is_refused(key, value, message):
    config = synthetic_results.configuration()
    config["figures"] |= {"journal": "plos", key: value}
    with pytest.raises(UserError, match=f"{key}: {message}"):
        study_config.validate(config)
    config["figures"]["journal"] = "none"
    assert study_config.validate(config)["figures"][key] == value


def test_presets_agree_with_themselves():
    allowed = get_args(Figures.model_fields["journal"].annotation)
    assert set(JOURNALS) == set(allowed)
    for name, preset in JOURNALS.items():
        look = style.Style.of({"journal": name})
        assert look == style.Style.of({"journal": name, "dpi": None, "font_size": None})
        assert preset.smallest <= look.small <= look.font_size <= look.large <= preset.largest
        assert preset.single_column_mm < preset.double_column_mm <= preset.max_width_mm
        assert preset.min_width_mm < preset.single_column_mm
        assert preset.dpi < preset.max_dpi
        assert preset.fonts[-1] == "DejaVu Sans"
        assert bool(preset.sources) == (name != "none")
    # An own size below the house's smallest moves that along.
    assert style.Style.of({"font_size": 6}).small == 6


# -- colours -----------------------------------------------------------------------------

# Machado, Oliveira & Fernandes (2009): what a reader without red, without green sees.
BLIND = [
    [
        [0.152286, 1.052583, -0.204868],
        [0.114503, 0.786281, 0.099216],
        [-0.003882, -0.048116, 1.051998],
    ],
    [
        [0.367322, 0.860646, -0.227968],
        [0.280085, 0.672501, 0.047413],
        [-0.01182, 0.04294, 0.968881],
    ],
]


def linear(colour: str) -> np.ndarray:
    values = np.array(to_rgb(colour))
    return np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)


def lab(rgb: np.ndarray) -> np.ndarray:
    """CIE Lab under D65 of linear sRGB."""
    to_xyz = [[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]]
    xyz = np.array(to_xyz) @ np.clip(rgb, 0, 1) / [0.9505, 1, 1.089]
    x, y, z = np.where(xyz > 0.008856, np.cbrt(xyz), 7.787 * xyz + 16 / 116)
    return np.array([116 * y - 16, 500 * (x - y), 200 * (y - z)])


@pytest.mark.parametrize("palette", style.PALETTES)
def test_fifteen_colours_stand_out_on_white_and_from_each_other(palette):
    colours = style.Style(palette=palette).colours
    assert len(set(colours)) == 15
    for colour in [*colours, style.MUTED]:
        contrast = 1.05 / (linear(colour) @ [0.2126, 0.7152, 0.0722] + 0.05)
        assert contrast >= 3, colour
    for seen in [np.eye(3), *map(np.array, BLIND)]:
        places = [lab(seen @ linear(colour)) for colour in colours]
        nearest = min(np.linalg.norm(a - b) for a, b in itertools.combinations(places, 2))
        # A difference of 2 is seen side by side.
        assert nearest > 9


def test_fifteen_looks_differ_in_colour_and_mark_and_neighbours_in_line():
    looks = [style.Style().look(number) for number in range(15)]
    assert len({look["color"] for look in looks}) == 15
    assert len({(look["marker"], look["markerfacecolor"] == "white") for look in looks}) == 15
    for one, other in itertools.pairwise(looks):
        assert one["linestyle"] != other["linestyle"] and one["marker"] != other["marker"]


# -- names and pages ---------------------------------------------------------------------


def test_long_names_lose_their_middle_and_stay_distinct():
    long = [f"{'a' * 100}{k}{'b' * 99}" for k in range(3)]
    cut = style.cut_names(["normal", *long])
    assert cut["normal"] == "normal" and len(set(cut.values())) == 4
    assert cut[long[0]] == f"{'a' * 30}\N{HORIZONTAL ELLIPSIS}{'b' * 29} (2)"
    hebrew = "\u05d1\u05e8"
    assert style.cut_names([hebrew]) == {hebrew: f"{hebrew}\N{LEFT-TO-RIGHT MARK}"}


def test_names_in_full_and_letters_without_a_font_stand_in_the_caption(
    tmp_path, monkeypatch, recwarn
):
    classes = ["\N{LUNGS} <b>", "\u0633\u0644\u0627\u0645", "x" * 200]
    made = synthetic_results.make(
        tmp_path, test_images=30, classes=classes, losses=["cce"], ensembles=False
    )
    monkeypatch.chdir(made.folder)
    figure = catalog.figures(made.config)["roc"]
    inputs = figure.files(made.results)
    recwarn.clear()
    drawing.draw(figure.draw, figure.params, inputs, {}, tmp_path / "x.json", tmp_path / "x.svg")
    assert [str(warning.message) for warning in recwarn] == []
    facts = json.loads((tmp_path / "x.json").read_text(encoding="utf-8"))["facts"]
    assert f": {'x' * 200}. Letters that the fonts lack are drawn as boxes." in facts
    assert "&lt;b&gt;" in (tmp_path / "x.svg").read_text(encoding="utf-8")


def test_more_rows_than_a_page_holds_go_on_further_pages():
    losses = [
        {"name": loss, "as": f"{loss}_{k}"} for k in range(5) for loss in synthetic_results.LOSSES
    ]
    losses[0] = "cce"
    config = synthetic_results.configuration(losses=losses, gradcam=False)
    figures = catalog.figures(config)
    names = [name for name in figures if re.fullmatch(r"rank(_\d)?", name)]
    assert names == ["rank", "rank_2"]
    assert figures["rank_2"].title == "Ranks that the tests leave possible (2 of 2)"
    assert "rank_2" not in catalog.figures(synthetic_results.configuration())
    pages = [drawing.page_of(list(range(60)), figures[name].params) for name in names]
    assert pages == [list(range(30)), list(range(30, 60))]
    assert drawing.page_of([1, 2], {}) == [1, 2]
    # A page for which nothing is left repeats the last row.
    assert drawing.page_of([1], {"page": [2, 2]}) == [1]


def test_marks_and_rows_bear_their_model(studies, monkeypatch):
    """What the page highlights: marks, labels and numbers of a row, lines and bands of curves."""
    made = studies("three")
    models = set(Study(made.config).models)
    for name, least in OF_MODELS.items():
        found = paint(made, name, monkeypatch).canvas.findobj(lambda artist: artist.get_gid())
        named = collections.Counter(artist.get_gid() for artist in found)
        assert {gid.removeprefix("model:") for gid in named} <= models, name
        assert all(gid.startswith("model:") for gid in named)
        assert min(named.values()) >= least, (name, named)
    with_runs = paint(studies("seven"), "forest_mcc", monkeypatch).canvas
    gids = {artist.get_gid() for artist in with_runs.findobj(lambda artist: artist.get_gid())}
    # The row of a loss stands for all its runs.
    assert "model:cce" in gids and "model:cce-r0" not in gids


def test_photographs_are_small_and_the_pdf_stays_sound(studies, monkeypatch, tmp_path):
    made = studies("three")
    monkeypatch.chdir(made.folder)
    figure = catalog.figures(made.config)["samples"]
    paths = {ending: tmp_path / f"x.{ending}" for ending in ("svg", "pdf")}
    drawing.draw(figure.draw, figure.params, figure.files(made.results), {}, *paths.values())
    raw = paths["pdf"].read_bytes()
    start = int(raw.rsplit(b"startxref", 1)[1].split()[0])
    places = [int(line[:10]) for line in raw[start:].splitlines() if line.endswith(b" 00000 n ")]
    for number, place in enumerate(places, start=1):
        assert raw[place:].startswith(b"%d 0 obj" % number)
    streams = re.findall(
        rb"obj\n(<<(?:(?!endobj).)*?>>)\nstream\n(.*?)\nendstream\nendobj", raw, re.DOTALL
    )
    photographs = 0
    for about, stream in streams:
        length, elsewhere = re.search(rb"/Length (\d+)( 0 R)?", about).groups()
        if elsewhere:
            length = re.search(rb"\n%s 0 obj\n(\d+)\n" % length, raw)[1]
        assert int(length) == len(stream)
        if b"/DCTDecode" in about:
            photographs += 1
            size = [int(text) for text in re.findall(rb"/(?:Width|Height) (\d+)", about)]
            with Image.open(io.BytesIO(stream)) as picture:
                assert list(picture.size) == size
                assert {"L": b"/DeviceGray", "RGB": b"/DeviceRGB"}[picture.mode] in about
            continue
        plain = zlib.decompress(stream)
        if b"/Length1" in about:
            assert len(plain) == int(re.search(rb"/Length1 (\d+)", about)[1])
    vector = paths["svg"].read_text(encoding="utf-8")
    assert photographs == vector.count("data:image/jpeg;base64,") > 0


def grain(seed: int = 0) -> np.ndarray:
    """A picture of grey grain, uint8 RGB (200, 200, 3)."""
    values = np.random.default_rng(seed).normal(128, 12, (200, 200)).clip(0, 255)
    return np.dstack([values.astype(np.uint8)] * 3)


def test_photographs_become_jpeg_and_flat_colours_do_not():
    packed = photographs.as_jpeg(grain().tobytes(), (200, 200))
    with Image.open(io.BytesIO(packed)) as picture:
        assert picture.mode == "L"
        assert np.abs(np.asarray(picture, float) - grain()[..., 0]).mean() < 4
    cells = np.kron(np.arange(16, dtype=np.uint8).reshape(4, 4) * 16, np.ones((50, 50), np.uint8))
    assert photographs.as_jpeg(np.dstack([cells] * 3).tobytes(), (200, 200)) == b""


def test_what_is_seen_through_stays_as_it_is(tmp_path):
    look = style.Style.of({})
    look.apply()
    canvas = look.figure(40)
    for axes, alpha in zip(canvas.subplots(1, 2), (255, 100), strict=True):
        smooth = np.sort(grain(), axis=0)
        axes.imshow(np.dstack([smooth, np.full((200, 200), alpha, np.uint8)]))
    style.save(canvas, tmp_path / "x.svg", tmp_path / "x.pdf")
    vector = (tmp_path / "x.svg").read_text(encoding="utf-8")
    assert vector.count("data:image/jpeg") == vector.count("data:image/png") == 1
    page = (tmp_path / "x.pdf").read_bytes()
    assert page.count(b"/DCTDecode") == page.count(b"/SMask") == 1


def test_pictures_stand_in_the_svg_where_the_png_has_them(tmp_path):
    """Also upright: dark above, light below."""
    look = style.Style.of({})
    look.apply()
    canvas = look.figure(40)
    axes = canvas.subplots()
    axes.imshow(np.sort(grain(), axis=0))
    style.save(canvas, tmp_path / "x.png", tmp_path / "x.svg")
    vector = (tmp_path / "x.svg").read_text(encoding="utf-8")
    element = re.search(r"<image [^>]*jpeg[^>]*>", vector)[0]
    place = {key: float(re.search(f' {key}="([^"]+)"', element)[1]) * look.dpi / 72
             for key in ("x", "y", "width", "height")}  # fmt: skip
    x, y, width, height = (round(place[key]) for key in ("x", "y", "width", "height"))
    raw = base64.b64decode(re.search(r'base64,([^"]+)"', element)[1])
    with Image.open(io.BytesIO(raw)) as picture, Image.open(tmp_path / "x.png") as png:
        assert picture.size == (width, height)
        seen = np.asarray(png.convert("L"), float)[y : y + height, x : x + width]
        # Beside the axes' own lines.
        inner = np.abs(np.asarray(picture.convert("L"), float) - seen)[5:-5, 5:-5]
    # Upside down it would be 19.
    assert inner.mean() < 5


def test_no_canvas_is_higher_than_a_page():
    for name, preset in JOURNALS.items():
        canvas = style.Style.of({"journal": name}).figure(1000)
        assert canvas.get_size_inches()[1] * 25.4 == pytest.approx(preset.max_height_mm)
