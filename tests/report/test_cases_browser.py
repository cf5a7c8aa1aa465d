"""The test images that the page shows one by one, tried in a real browser."""

import base64
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pandas as pd
import pytest
from browser import AXE, NO_AXE, Browser
from markupsafe import Markup
from multiloss import cases, report
from multiloss.cases import Heat
from multiloss.job.files import digest_of
from multiloss.predictions import Predictions
from multiloss.report import templates
from multiloss.report.blocks import Html, Section
from multiloss.report.facts import Facts
from multiloss.report.figures import Figures
from multiloss.report.results import Results
from synthetic_results import configuration

CLASSES = ["normal", "</script><b>viral_pneumonia_with_a_long_name"]
MANY = 30
LABELS = [i % 2 for i in range(MANY)]
# The first model errs in every third image, the second says 'normal' of all, the third failed.
PREDICTED = [1 - label if i % 3 == 0 else label for i, label in enumerate(LABELS)]
# 7 and 30 have no common factor: every value once, in no order.
SHARES = [0.5 + (7 * i % MANY + 1) / 64 for i in range(MANY)]
BOX = (12, 4, 24, 30)


def written(folder: Path) -> dict[str, Any]:
    """What the page gets: images of 60 x 40 pixels, white in the right half of the odd ones."""
    masks = folder / "masks"
    masks.mkdir()
    lesion = np.zeros((40, 60), np.uint8)
    lesion[20:30, 30:45] = 255
    cv2.imwrite(str(folder / "lesion.png"), lesion)
    rows = []
    for number, label in enumerate(LABELS):
        pixels = np.zeros((40, 60), np.uint8)
        pixels[:, 30:] = 255 * label
        path = folder / f"{number}.png"
        cv2.imwrite(str(path), pixels)
        mask = np.zeros((40, 60), np.uint8)
        mask[8:32, 15:45] = 255
        cv2.imwrite(str(masks / f"{number}.png"), mask)
        rows.append(
            {
                "image_id": str(number),
                "path": str(path),
                "sha256": digest_of(path),
                "bits": 8,
                "label": CLASSES[label],
                "patient_id": str(number),
                "split": "test",
                "lesion_mask": str(folder / "lesion.png") if number == 1 else "",
            }
        )
    images = pd.DataFrame(rows)
    first = np.where(
        np.arange(2) == np.array(PREDICTED)[:, None],
        np.array(SHARES)[:, None],
        1 - np.array(SHARES)[:, None],
    )
    p = np.array([first, np.tile([0.9, 0.1], (MANY, 1)), np.full((MANY, 2), np.nan)])
    names = {"a-r0": "loss a", "b-r0": "loss b", "c-r0": "loss c"}
    predictions = Predictions(
        images[["image_id", "patient_id", "split", "label"]], list(names), CLASSES, p
    )
    maps = np.zeros((MANY, 2, 3), np.float16)
    maps[:, 1, 2] = 1
    boxes = pd.DataFrame({"image_id": images["image_id"]}).assign(
        **dict(zip(("xmin", "ymin", "width", "height"), BOX, strict=True))
    )
    return cases.cases(
        images,
        predictions,
        names,
        {"a-r0": Heat(images["image_id"].tolist(), maps)},
        boxes,
        masks,
        most=100,
        seed=7,
        rgb=False,
    )


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    results = tmp_path_factory.mktemp("results")
    (results / "cases.json").write_text(json.dumps(written(tmp_path_factory.mktemp("images"))))
    (results / "ensembles").mkdir()
    chosen = pd.DataFrame({"what": ["single"], "model": ["b-r0"]})
    chosen.to_csv(results / "ensembles/chosen.csv", index=False)
    config = configuration("a_study")
    facts = Facts(Results(results), config)
    spans = [
        Markup('<span class="model" data-model="{}">{}</span>').format(name, words)
        for name, words in (("a-r0", "loss a"), ("b-r0", "loss b"), ("other", "another"))
    ]
    opening = Html(
        Markup('<h1 id="answer-title">Title</h1><h2>Models</h2><p>{}, {}, {}</p>').format(*spans)
    )
    made = [
        Section("answer", "Answer", [opening], finding=Markup("Title"), level="result"),
        templates.section("22_cases.html.j2", facts, Figures(facts), {}),
    ]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(report, "sections", lambda *args, **options: made)
        text = report.build(results, config)
    page = tmp_path_factory.mktemp("mailed") / "report.html"
    page.write_text(text, encoding="utf-8")
    yield page.as_uri()


def choose(browser: Browser, **values: str) -> None:
    for name, value in values.items():
        browser.value(
            f"(s => {{ s.value = {value!r};"
            " s.dispatchEvent(new Event('change', {bubbles: true})) })"
            f"(document.querySelector('#case-viewer [name={name}]'))"
        )


def click(browser: Browser, selector: str) -> None:
    browser.value(f"document.querySelector({selector!r}).click()")


BUTTONS = "Array.from(document.querySelectorAll('#case-viewer .grid button'))"

# A dialog says that it is closed a moment later.
SETTLED = "new Promise(done => setTimeout(() => done(1), 100))"


def listed(browser: Browser) -> list[int]:
    """The images in the grid, from 0, after what is hidden behind `Show more`."""
    browser.value(
        "(m => { while (!m.hidden) m.click() })(document.querySelector('#case-viewer .more'))"
    )
    texts = browser.value(f"{BUTTONS}.map(b => b.textContent.match(/Test image (\\d+)/)[1])")
    return [int(text) - 1 for text in texts]


def large(browser: Browser) -> str:
    return browser.value("document.getElementById('case-title').textContent")


def test_the_chosen_model_comes_first_and_its_images_by_certainty(
    browser: Browser, url: str
) -> None:
    browser.open(url)
    assert browser.seen("Runtime.exceptionThrown") == browser.seen("Log.entryAdded") == []
    assert browser.value("document.querySelector('#cases .finding').textContent") == (
        "All 30 test images with what each model says of them."
    )
    model = "document.querySelector('#case-viewer [name=model]')"
    assert browser.value(f"{model}.value") == "b-r0"
    assert browser.value(f"Array.from({model}.options, o => o.textContent)") == [
        *("loss a", "loss b", "loss c")
    ]
    choose(browser, model="a-r0")
    assert browser.value(f"{BUTTONS}.length") == 24
    everything = sorted(range(MANY), key=lambda i: SHARES[i])
    assert listed(browser) == everything
    choose(browser, order="sure")
    assert listed(browser) == everything[::-1]
    choose(browser, order="given")
    assert listed(browser) == list(range(MANY))


def test_filters_by_class_prediction_and_outcome(browser: Browser, url: str) -> None:
    browser.open(url)
    choose(browser, model="a-r0", order="given")

    def expected(test: Any) -> list[int]:
        return [i for i in range(MANY) if test(i)]

    count = "document.querySelector('#case-viewer .count').textContent"
    for label in (0, 1):
        choose(browser, label=str(label))
        assert listed(browser) == expected(lambda i, label=label: LABELS[i] == label)
        assert browser.value(count) == "15 of 30 images"
    choose(browser, right="no")
    assert listed(browser) == expected(lambda i: LABELS[i] == 1 and i % 3 == 0)
    assert browser.value(f"new Set({BUTTONS}.map(b => b.className)).size") == 1
    wrong = f"{BUTTONS}[0]"
    assert browser.value(f"{wrong}.className") == "wrong"
    frame = "getComputedStyle({}.querySelector('svg')).border{}Style"
    assert browser.value(frame.format(wrong, "Top")) == "dashed"
    said = f"incorrect, {CLASSES[1]}, predicted normal, p\u00a0=\u00a0{SHARES[3]:.2f}"
    assert browser.value(f"{wrong}.textContent") == f"Test image 4: \u2212\u00a0{said}"
    choose(browser, right="yes")
    assert listed(browser) == expected(lambda i: LABELS[i] == 1 and i % 3)
    assert browser.value(frame.format(wrong, "Top")) == "solid"
    assert browser.value(f"{wrong}.textContent").startswith(
        "Test image 2: +\u00a0correct, </script>"
    )
    choose(browser, label="", right="", predicted="0")
    assert listed(browser) == expected(lambda i: PREDICTED[i] == 0)
    choose(browser, model="b-r0")
    assert listed(browser) == list(range(MANY))
    choose(browser, model="c-r0")
    assert listed(browser) == [] and browser.value(count) == "0 of 30 images"
    choose(browser, predicted="")
    assert listed(browser) == list(range(MANY))
    assert browser.value(f"{wrong}.className") == ""
    assert browser.value(f"{wrong}.textContent") == "Test image 1: normal (no prediction)"


def test_a_model_highlighted_in_the_page_is_the_one_shown(browser: Browser, url: str) -> None:
    browser.open("about:blank")
    browser.open(f"{url}#model=a-r0")
    model = "document.querySelector('#case-viewer [name=model]').value"
    assert browser.value(model) == "a-r0"
    click(browser, "#answer [data-model=b-r0]")
    assert browser.value(model) == "b-r0"
    # Of a model without cases there is nothing to show, and none leaves what is shown.
    click(browser, "#answer [data-model=other]")
    click(browser, "#answer [data-model=other]")
    assert browser.value(model) == "b-r0"


DRAWN = """(() => {
  const svg = document.querySelector('#case-viewer .grid svg');
  const of = (kind, ...keys) => Array.from(svg.querySelectorAll('.' + kind),
    one => keys.map(key => Number(one.getAttribute(key))));
  return {
    box: of('box', 'x', 'y', 'width', 'height'),
    heat: of('heat', 'x', 'y', 'width', 'height', 'fill-opacity'),
    mask: Array.from(svg.querySelectorAll('.mask'), one => one.getAttribute('points')),
    lesion: Array.from(svg.querySelectorAll('.lesion'), one => one.getAttribute('points')),
  };
})()"""


def corners(points: str) -> list[float]:
    numbers = np.array([float(number) for number in points.split()]).reshape(-1, 2)
    return [*numbers.min(axis=0), *numbers.max(axis=0)]


def test_box_outlines_and_heat_are_drawn_where_they_are(browser: Browser, url: str) -> None:
    browser.open(url)
    choose(browser, model="a-r0", order="given", label="1")  # the second image is the first
    assert not any(browser.value(DRAWN).values())
    for kind in ("box", "mask", "lesion", "heat"):
        click(browser, f"#case-viewer [name={kind}]")
    drawn = browser.value(DRAWN)
    assert drawn["box"] == [list(BOX)]
    # A grid of 2 x 3 cells on the box, with the last one hot.
    x, y, width, height = BOX
    hot = [x + 2 * width / 3, y + height / 2, width / 3, height / 2, 0.65]
    assert drawn["heat"] == [hot]
    # Outlines run through the middle of pixels, and are rounded to a 255th of the image.
    assert corners(drawn["mask"][0]) == pytest.approx([15.5, 8.5, 44.5, 31.5], abs=0.2)
    assert corners(drawn["lesion"][0]) == pytest.approx([30.5, 20.5, 44.5, 29.5], abs=0.2)
    click(browser, "#case-viewer [name=mask]")
    assert not browser.value(DRAWN)["mask"]
    heat = "document.querySelector('#case-viewer [name=heat]').disabled"
    assert not browser.value(heat)
    choose(browser, model="b-r0")
    assert browser.value(heat) and not browser.value(DRAWN)["heat"]
    assert browser.value(DRAWN)["box"] == [list(BOX)]


def test_the_images_themselves_are_seen(browser: Browser, url: str) -> None:
    """The page's policy lets them through, and each stands at its own place."""
    browser.open(url)
    choose(browser, order="given")
    browser.value("document.getElementById('case-viewer').scrollIntoView()")
    browser.value(
        "Promise.all(Array.from(document.querySelectorAll('#case-viewer image')).slice(0, 2)"
        ".map(i => { const m = new Image(); m.src = i.getAttribute('href'); return m.decode() }))"
        ".then(() => new Promise(done => setTimeout(() => done(1), 300)))"
    )
    taken = browser.call("Page.captureScreenshot", format="png")["data"]
    seen = cv2.imdecode(np.frombuffer(base64.b64decode(taken), np.uint8), cv2.IMREAD_GRAYSCALE)
    for place in (0, 1):
        left, top, width, height = browser.value(
            f"(r => [r.left, r.top, r.width, r.height])({BUTTONS}[{place}]"
            ".querySelector('svg').getBoundingClientRect())"
        )
        row = int(top + height / 2)
        assert seen[row, int(left + width / 4)] < 40
        assert (seen[row, int(left + 3 * width / 4)] > 215) == bool(place)


def test_an_image_is_enlarged_and_left_by_keyboard(browser: Browser, url: str) -> None:
    browser.open(url)
    choose(browser, model="a-r0", order="given")
    # The grid is one tab stop, with arrows from image to image.
    assert browser.value(f"{BUTTONS}.filter(b => b.tabIndex === 0).length") == 1
    browser.value(f"{BUTTONS}[0].focus()")
    browser.press("ArrowRight", 39)
    assert browser.value(f"{BUTTONS}.indexOf(document.activeElement)") == 1
    browser.press("Enter", 13)
    opened = "document.querySelector('#case-viewer dialog').open"
    assert browser.value(opened)
    right = f"correct, {CLASSES[1]}, p\u00a0=\u00a0{SHARES[1]:.2f}"
    assert large(browser) == f"Test image 2: +\u00a0{right}"
    rows = (
        "Array.from(document.querySelectorAll('#case-viewer .saying table'), t => "
        "Array.from(t.tBodies[0].rows, r => Array.from(r.cells, c => c.textContent)))"
    )
    classes, models = browser.value(rows)
    shares = [round(255 * share) / 255 for share in (1 - SHARES[1], SHARES[1])]
    assert classes == [
        ["normal", f"{shares[0]:.2f}"],
        [f"{CLASSES[1]} (true)", f"{shares[1]:.2f}"],
    ]
    assert models == [
        ["loss a", f"+\u00a0correct, {CLASSES[1]}", f"{shares[1]:.2f}"],
        ["loss b", "\u2212\u00a0incorrect, normal", "0.90"],
        ["loss c", "no prediction", ""],
    ]
    summary = "document.querySelector('#case-viewer .saying summary').textContent"
    assert browser.value(summary) == "Correct: 1 of 2 models"
    # What is drawn, and of which model, is chosen here, too: it is the same field.
    click(browser, "#case-viewer dialog [name=box]")
    boxes = "document.querySelectorAll('#case-viewer .large .box').length"
    assert browser.value(boxes) == 1
    choose(browser, model="b-r0")
    assert large(browser).startswith("Test image 2: \u2212\u00a0incorrect")
    assert browser.value("document.querySelector('#case-viewer .large').className") == "large wrong"
    choose(browser, model="a-r0")
    for _ in range(2):
        browser.press("ArrowRight", 39)
    assert large(browser).startswith("Test image 4: ")
    browser.press("ArrowLeft", 37)
    assert large(browser).startswith("Test image 3: ")
    browser.press("Escape", 27)
    assert not browser.value(opened)
    browser.value(SETTLED)
    # Focus returns to the image that was looked at last; the fields to the form.
    assert browser.value("document.activeElement.textContent").startswith("Test image 3: ")
    assert browser.value("document.querySelectorAll('#case-filters [name=box]').length") == 1
    assert browser.value("document.querySelector('#case-viewer [name=box]').checked")


def test_the_last_image_ends_the_walk_and_is_shown_behind(browser: Browser, url: str) -> None:
    browser.open(url)
    choose(browser, model="a-r0", order="given")
    browser.value(f"{BUTTONS}[23].click()")
    previous, following = (
        f"document.querySelector('#case-viewer .{one}').disabled" for one in ("previous", "next")
    )
    assert not browser.value(previous) and not browser.value(following)
    for _ in range(9):
        browser.press("ArrowRight", 39)
    assert large(browser).startswith(f"Test image {MANY}: ") and browser.value(following)
    click(browser, "#case-viewer .close")
    browser.value(SETTLED)
    assert browser.value(f"{BUTTONS}.indexOf(document.activeElement)") == MANY - 1


def test_escape_leaves_the_highlighted_model(browser: Browser, url: str) -> None:
    browser.open("about:blank")
    browser.open(f"{url}#model=a-r0")
    browser.value(f"{BUTTONS}[0].focus()")
    browser.press("Enter", 13)
    browser.press("Escape", 27)
    browser.value(SETTLED)
    assert browser.value("document.getElementById('pick').value") == "loss a"
    browser.press("Escape", 27)
    assert browser.value("document.getElementById('pick').value") == ""


@pytest.mark.parametrize("width", [1280, 390])
def test_nothing_is_too_wide(browser: Browser, url: str, width: int) -> None:
    browser.open(url, width=width)
    across = "Math.round(document.documentElement.scrollWidth)"
    assert browser.value(across) <= width
    columns = f"new Set({BUTTONS}.map(b => Math.round(b.getBoundingClientRect().left))).size"
    assert browser.value(columns) >= (3 if width == 390 else 6)
    browser.value(f"{BUTTONS}[0].click()")
    left, right, wide = browser.value(
        "(d => [d.getBoundingClientRect().left, d.getBoundingClientRect().right, "
        "d.scrollWidth - d.clientWidth])(document.querySelector('#case-viewer dialog'))"
    )
    assert 0 <= left < right <= width and wide <= 0


def test_paper_names_the_section_only(browser: Browser, url: str) -> None:
    browser.open(url)
    browser.media(media="print")
    height = "document.querySelector('{}').getBoundingClientRect().height"
    assert browser.value(height.format("#case-viewer")) == 0
    assert browser.value(height.format("#cases .finding")) > 0
    browser.media()


@pytest.mark.skipif(not AXE.is_file(), reason=NO_AXE)
@pytest.mark.parametrize("look", ["light", "dark"])
def test_axe_finds_nothing(browser: Browser, url: str, look: str) -> None:
    browser.media(prefers_color_scheme=look)
    browser.open(url)
    kept, broken = browser.axe()
    assert kept > 20 and broken == []
    browser.value(f"{BUTTONS}[0].click()")
    kept, broken = browser.axe()
    assert kept > 10 and broken == []
    browser.media()
