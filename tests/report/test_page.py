"""What a reader can do with the page, tried in a real browser on a small page made by hand.

The page lies alone in a folder, as if it had been mailed.
"""

import csv
import io
import json
import os
import re
import struct
import time
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import cv2
import numpy as np
import pandas as pd
import pytest
from browser import AXE, NO_AXE, Browser
from markupsafe import Markup
from multiloss import report
from multiloss.job.errors import UserError
from multiloss.report import attachments, blocks, glossary, pictures, templates
from multiloss.report.blocks import Figure, Gallery, Html, Section
from multiloss.report.facts import Estimate
from multiloss.report.results import Results
from synthetic_results import configuration
from test_pictures import EVIL, drawn

ROWS = 30
SCORES = pd.DataFrame(
    {
        "model": [f"loss{i:02d}-r0" for i in range(ROWS)],
        # 7 and 30 have no common factor: every value once, in no order.
        "mcc": [(7 * i % ROWS) / 100 for i in range(ROWS)],
        "low": [(7 * i % ROWS) / 100 - 0.01 for i in range(ROWS)],
        "high": [(7 * i % ROWS) / 100 + 0.01 for i in range(ROWS)],
        "brier": [i / 1000 for i in range(ROWS)],
        "seconds": range(ROWS),
        "unseen": range(ROWS),
    }
)
PDF = b"%PDF-1.4 as Matplotlib wrote it"
CURVES = "x,y\r\n0,1\r\n"


def name(model: str) -> Markup:
    words = "cross-entropy" if model == "cce-r0" else model.removesuffix("-r0")
    return Markup('<span class="model" data-model="{}">{}</span>').format(model, words)


def scores_table(title: str, source: str, **options: Any) -> blocks.Table:
    frame = SCORES.assign(
        model=[blocks.Cell(name(m), m) for m in SCORES["model"]],
        mcc=[blocks.value_cell(Estimate(*e)) for e in SCORES[["mcc", "low", "high"]].values],
    )
    columns = [
        blocks.Column("model", "Model"),
        blocks.Column("mcc", "MCC", blocks.number, help="Matthews correlation"),
        blocks.Column("brier", "Brier score", blocks.number, more=True),
        blocks.Column("seconds", "Seconds", blocks.count, more=True),
    ]
    return blocks.table(
        title.lower(),
        title,
        "All of them.",
        frame,
        columns,
        source=source,
        how="By rows.",
        **options,
    )


def parts(results: Path) -> list[Section]:
    labels = {"cross-entropy": "cce-r0"}

    def figure(stem: str, number: int) -> Figure:
        path = drawn(results / f"figures/{stem}.svg")
        picture = pictures.inline(path, f"f{number}-", "Two panels.", labels)
        title = f"Figure of {stem}"
        return Figure(
            f"figure-{stem}", title, "What it shows.", picture, f"figures/{stem}.svg", "So."
        )

    (results / "figures").mkdir(parents=True)
    (results / "tables").mkdir()
    forest, roc, folded = figure("forest", 1), figure("roc", 2), figure("folded", 3)
    roc.supplement = True
    (results / "figures/forest.pdf").write_bytes(PDF)
    (results / "figures/forest.csv").write_bytes(CURVES.encode())
    SCORES.to_csv(results / "tables/scores.csv", index=False)
    SCORES.assign(patient_id="p1").to_csv(results / "tables/people.csv", index=False)
    term = glossary.term("mcc")
    columns = [blocks.Column("model", "Name"), blocks.Column("mcc", "MCC", blocks.number)]
    few = blocks.table("few", "Few", "", SCORES[:2], columns)
    people = scores_table("People", "tables/people.csv")
    cards = Markup(
        '<div class="cards"><div class="card"><h2>Which loss?</h2><p>{}: {}</p></div></div>'
    ).format(name("cce-r0"), term)
    copies = Markup(
        '<div class="copies" data-name="methods"><p data-copy="Text">We trained.</p>'
        '<pre data-copy="LaTeX" data-file="methods.tex">We \\emph{trained}.</pre></div>'
        "<p>Matthews BW. doi:10.1016/0005-2795(75)90109-9</p>"
    )
    finding = Markup("No loss was shown to beat {}").format(name("cce-r0"))
    cards = Markup('<h1 id="answer-title">{}</h1>{}').format(finding, cards)
    terms = Markup('<dl class="glossary"><dt id="term-mcc">MCC</dt><dd>Agreement.</dd></dl>')
    long = Markup("<p>{}</p>").format("Words of the appendix. " * 900)
    made = [
        Section("answer", "The answer", [Html(cards), forest], finding=finding, level="result"),
        Section("singles", "Single models", [scores_table("Scores", "tables/scores.csv")],
                level="result", finding=f"Class {EVIL} is rare."),
        Section("data", "Data", [roc, people, few], level="trust"),
        Section("methods", "Methods", [Html(copies)], level="paper"),
        Section("all", "All tests", [scores_table("Tests", "", folded=True),
                Gallery("Maps", [], [folded]), Html(long)], level="appendix"),
        Section("glossary", "Glossary", [Html(terms)], level="appendix"),
    ]  # fmt: skip
    report.references_to.enumerate_blocks(made)
    return made


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    results = tmp_path_factory.mktemp("results")
    made = parts(results)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(report, "sections", lambda *args, **options: made)
        text = report.build(results, configuration("a_study"))
    page = tmp_path_factory.mktemp("mailed") / "report.html"
    page.write_text(text, encoding="utf-8")
    yield page.as_uri()


@pytest.fixture
def saved(browser: Browser, tmp_path: Path) -> Any:
    """Presses a button that saves a file, and returns the file's bytes."""
    browser.downloads(tmp_path)

    def press(button: str, file: str) -> bytes:
        click(browser, button)
        until = time.monotonic() + 60
        while not (tmp_path / file).exists():
            assert time.monotonic() < until, f"{file} was not saved: {os.listdir(tmp_path)}"
            time.sleep(0.05)
        return (tmp_path / file).read_bytes()

    return press


def click(browser: Browser, selector: str) -> None:
    browser.value(f"{selector}.click()")


def within(block: str, text: str) -> str:
    """The button of a figure or table with this text."""
    return (
        f"Array.from(document.querySelectorAll('#{block} button'))"
        f".find(b => b.textContent.startsWith('{text}'))"
    )


# ---- frame ----------------------------------------------------------------------------------
def test_nothing_fails_and_only_its_own_script_runs(browser: Browser, url: str) -> None:
    browser.open(url)
    assert browser.seen("Runtime.exceptionThrown") == browser.seen("Log.entryAdded") == []
    refused = browser.value(
        """new Promise(done => {
          document.addEventListener('securitypolicyviolation', e => done(e.violatedDirective));
          const script = document.createElement('script');
          script.textContent = 'window.ran = true';
          document.body.append(script);
          setTimeout(() => done('nothing'), 2000);
        })"""
    )
    assert refused == "script-src-elem" and browser.value("window.ran") is None
    assert browser.value("document.querySelectorAll('main script, main b[onclick]').length") == 0
    assert EVIL in browser.value("document.querySelector('#singles .finding').textContent")
    ids = browser.value("Array.from(document.querySelectorAll('[id]'), e => e.id)")
    assert len(ids) == len(set(ids))


def test_opens_with_the_finding_and_says_what_the_images_are(browser: Browser, url: str) -> None:
    browser.open(url)
    assert browser.value("document.querySelectorAll('h1').length") == 1
    assert browser.value("document.querySelector('h1').innerText") == (
        "No loss was shown to beat cross-entropy"
    )
    assert browser.value("document.querySelector('.banner').innerText").startswith(
        "Demonstration on generated images."
    )
    levels = "Array.from(document.querySelectorAll('h2.level-title'), h => h.textContent)"
    assert browser.value(levels) == ["Can I trust it?", "For the paper", "Appendix"]
    found = "document.querySelector('.findings').innerText"
    assert browser.value(found) == f"Single models: Class {EVIL} is rare."


CURRENT = "Array.from(document.querySelectorAll('nav [aria-current]'), a => a.textContent)"
BELOW = (
    "Array.from(document.querySelectorAll('nav .below'))"
    ".filter(u => u.getBoundingClientRect().height).map(u => u.innerText.split('\\n'))"
)


def test_contents_follow_the_reader(browser: Browser, url: str) -> None:
    browser.open(url)
    assert browser.value(CURRENT) == ["The answer"]
    assert browser.value(BELOW) == [["Figure 1. Figure of forest", "What the other sections found"]]
    assert browser.value("document.querySelector('.to-top').hidden") is True
    wait = "new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))"
    browser.value(f"document.getElementById('data').scrollIntoView(); {wait}")
    assert browser.value(CURRENT) == ["Data"]
    assert browser.value(BELOW) == [["Figure 2. Figure of roc", "Table 2. People", "Table 3. Few"]]
    click(browser, "document.querySelector('.to-top')")
    browser.value(wait)
    assert browser.value("scrollY") == 0 and browser.value(CURRENT) == ["The answer"]
    anchors = "Array.from(document.querySelectorAll('.anchor'), a => a.getAttribute('href'))"
    for place in ("#singles", "#table-scores", "#figure-forest"):
        assert place in browser.value(anchors)


def test_dois_are_links_and_nothing_else_leads_away(browser: Browser, url: str) -> None:
    browser.open(url)
    away = "Array.from(document.links, a => a.getAttribute('href')).filter(h => h[0] !== '#')"
    assert browser.value(away) == ["https://doi.org/10.1016/0005-2795(75)90109-9"]


# ---- search ---------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("text", "first", "target"),
    [
        ("single mod", "Section Single models", "section#singles"),
        ("cross-entropy", "Model cross-entropy", ".model"),
        ("loss07-r0", "Model loss07", "#rows-scores .model"),
        ("brier", "Column Brier score", "#rows-scores th"),
        ("what it shows roc", "Figure Figure 2. Figure of roc", "figure#figure-roc"),
        ("table people", "Table Table 2. People.", "#table-people"),
        ("agreement", "Term MCC", "dt#term-mcc"),
    ],
)
def test_search_finds_and_goes_there(
    browser: Browser, url: str, text: str, first: str, target: str
) -> None:
    browser.open(url)
    browser.press("/", 191)
    assert browser.value("document.activeElement.id") == "search"
    browser.type(text)
    options = "Array.from(document.querySelectorAll('#results [role=option]'), o => o.innerText)"
    found = [" ".join(option.split()).rstrip(".") for option in browser.value(options)]
    assert found[0] == first.rstrip(".")
    assert (
        browser.value("document.getElementById('search').getAttribute('aria-expanded')") == "true"
    )
    browser.press("Enter", 13)
    assert browser.value(f"document.querySelector('.flash').matches('{target}')")
    seen = "(box => box.top < innerHeight && box.bottom > 0)"
    assert browser.value(f"{seen}(document.querySelector('.flash').getBoundingClientRect())")
    in_sight = browser.value("document.querySelector('.flash').textContent").lower()
    marked = browser.value("CSS.highlights.get('found').size")
    assert marked == sum(in_sight.count(word) for word in text.split())
    assert browser.value("document.getElementById('results').hidden") is True


def test_search_by_arrow_keys_and_away_by_escape(browser: Browser, url: str) -> None:
    browser.open(url)
    browser.press("/", 191)
    browser.type("figure of")
    active = "document.getElementById('search').getAttribute('aria-activedescendant')"
    assert browser.value(active) == "result-0"
    browser.press("ArrowDown", 40)
    assert browser.value(active) == "result-1"
    browser.press("ArrowUp", 38)
    browser.press("ArrowUp", 38)  # around the end
    last = browser.value("document.getElementById('results').children.length") - 1
    assert last >= 2 and browser.value(active) == f"result-{last}"
    browser.press("Escape", 27)
    assert browser.value("document.getElementById('search').value") == ""
    assert browser.value("document.getElementById('results').hidden") is True


# ---- tables ---------------------------------------------------------------------------------
SEEN = (
    "Array.from(document.querySelectorAll('#rows-scores tbody tr'))"
    ".filter(r => r.getBoundingClientRect().height).map(r => r.cells[0].textContent)"
)


def test_a_filter_looks_at_all_rows(browser: Browser, url: str) -> None:
    browser.open(url)
    assert len(browser.value(SEEN)) == 12
    click(browser, within("table-scores", "Filter"))
    assert browser.value("document.activeElement.type") == "search"
    browser.type("loss2")
    assert browser.value(SEEN) == [f"loss{i}" for i in range(20, 30)]
    found = "document.querySelector('#table-scores .found').textContent"
    assert browser.value(found) == "10 of 30 rows"
    browser.type(" 0.02")  # and: both words
    assert browser.value(SEEN) == [
        f"loss{i:02d}" for i in range(20, 30) if re.search(r"0\.02", _text(i))
    ]
    browser.press("Escape", 27)
    assert len(browser.value(SEEN)) == 12 and browser.value(found) == ""
    assert browser.value("document.activeElement.textContent") == "Filter"


def _text(row: int) -> str:
    values = SCORES.iloc[row]
    shown = (f"{values[key]:.3f}" for key in ("mcc", "low", "high", "brier"))
    return " ".join(shown)


def test_more_columns_come_by_a_button(browser: Browser, url: str) -> None:
    browser.open(url)
    heads = (
        "Array.from(document.querySelectorAll('#rows-scores thead th'))"
        ".filter(h => h.getBoundingClientRect().width).map(h => h.textContent)"
    )
    assert browser.value(heads) == ["Model", "MCC"]
    click(browser, within("table-scores", "More columns (2)"))
    assert browser.value(heads) == ["Model", "MCC", "Brier score", "Seconds"]
    click(browser, within("table-scores", "Fewer columns"))
    assert browser.value(heads) == ["Model", "MCC"]


def test_a_table_is_few_tab_stops(browser: Browser, url: str) -> None:
    browser.open(url)
    stops = (
        "Array.from(document.querySelectorAll('#table-scores *'))"
        ".filter(e => e.tabIndex === 0 && e.getBoundingClientRect().width)"
        ".map(e => e.tagName + ' ' + e.textContent)"
    )
    assert browser.value(stops) == [
        "SUMMARY How to read it",
        "BUTTON Model",
        "BUTTON Show all 30 rows",
    ]
    browser.value("document.querySelector('#rows-scores th button').focus()")
    focus = "document.activeElement.textContent"
    browser.press("ArrowRight", 39)
    assert browser.value(focus) == "MCC"
    browser.press("End", 35)
    browser.press("Home", 36)
    assert browser.value(focus) == "Model"
    assert browser.value("document.querySelector('#rows-scores caption').innerText").startswith(
        "Table 1. Scores. All of them. tables/scores.csv"
    )


def test_the_head_and_first_column_stay_in_sight(browser: Browser, url: str) -> None:
    browser.open(url, 280, 700)
    click(browser, within("table-scores", "Show all"))
    click(browser, within("table-scores", "More columns"))
    places = browser.value(
        """new Promise(done => setTimeout(done, 100)).then(() => {
          const scroll = document.querySelector('#table-scores .scroll');
          const frame = document.querySelector('#table-scores .frame');
          const cut = frame.classList.contains('cut');
          scroll.scrollTop = 600; scroll.scrollLeft = 60;
          const box = scroll.getBoundingClientRect();
          const place = name => document.querySelector(`#rows-scores ${name}`)
            .getBoundingClientRect();
          const [head, row] = [place('thead th'), place('tbody tr:last-child th')];
          return [scroll.scrollTop, scroll.scrollLeft, head.top - box.top, head.left - box.left,
            row.left - box.left, cut];
        })"""
    )
    assert places[0] > 300 and places[1] > 20 and places[5] is True
    assert places[2:5] == pytest.approx([0, 0, 0], abs=1)


def test_a_table_is_saved_whole_from_the_mailed_page(
    browser: Browser, url: str, saved: Any
) -> None:
    browser.open(url)
    data = saved(within("table-scores", "CSV"), "scores.csv")
    assert data == SCORES.to_csv(index=False).encode()  # with the column that is not shown
    assert browser.value(f"{within('table-scores', 'CSV')}.title") == "All of tables/scores.csv"


def test_files_that_name_people_are_not_carried(browser: Browser, url: str, saved: Any) -> None:
    browser.open(url)
    title = browser.value(f"{within('table-people', 'CSV')}.title")
    assert title == (
        "The rows and columns of this table; tables/people.csv is in the study's folder"
    )
    rows = list(
        csv.reader(io.StringIO(saved(within("table-people", "CSV"), "people.csv").decode()))
    )
    assert rows[0] == ["Model", "MCC", "MCC, interval", "Brier score", "Seconds"]
    assert len(rows) == ROWS + 1 and rows[4] == ["loss03", "0.21", "0.200 to 0.220", "0.003", "3"]


# Cells as a user may name classes and patients, and as they are saved.
FORMULAS = {
    "=cmd()|x": "'=cmd()|x",
    "+1+cmd|' /C calc'!A0": "'+1+cmd|' /C calc'!A0",
    "-2+A1": "'-2+A1",
    '@SUM("a,=b")': '\'@SUM("a,=b")',
    "\t=1": "'\t=1",
    "\r=1": "'\r=1",
    "-": "'-",
    "a=b": "a=b",
    "'=1": "'=1",
    "-0.12": "-0.12",
    "+1e-05": "+1e-05",
    "-0.1;0.2;-3E5": "-0.1;0.2;-3E5",
    "-0.10 to -0.03": "-0.10 to -0.03",
    "-inf": "-inf",
}


def test_no_saved_cell_is_run_as_a_formula(
    browser: Browser, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, saved: Any
) -> None:
    """Of carried files, of tables as they stand and of those that are copied."""
    (tmp_path / "tables").mkdir()
    frame = pd.DataFrame({"=class": list(FORMULAS), "mcc": [-0.5] * len(FORMULAS)})
    with (tmp_path / "tables/odd.csv").open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([frame.columns, *frame.values.tolist()])
    columns = [blocks.Column("=class", "=Class"), blocks.Column("mcc", "MCC", blocks.number)]
    made = [
        Section("answer", "Odd", [
            blocks.table("odd", "Odd", "", frame, columns, source="tables/odd.csv"),
            blocks.table("own", "Own", "", frame, columns),
        ], finding="Found.", level="result"),
    ]  # fmt: skip
    monkeypatch.setattr(report, "sections", lambda *args, **options: made)
    page = tmp_path / "report.html"
    page.write_text(report.build(tmp_path, configuration("odd")), encoding="utf-8")
    browser.open(page.as_uri())
    text = saved(within("table-odd", "CSV"), "odd.csv").decode()
    rows = list(csv.reader(io.StringIO(text, newline="")))
    assert rows == [["'=class", "mcc"], *([cell, "-0.5"] for cell in FORMULAS.values())]
    # A table of the page has its spaces as the browser shows them.
    shown = [["'=Class", "MCC"]]
    shown += [[re.sub(r"\s=", "=", cell), "-0.5"] for cell in FORMULAS.values()]
    text = saved(within("table-own", "CSV"), "own.csv").decode()
    assert list(csv.reader(io.StringIO(text, newline=""))) == shown
    copied = browser.value(COPIED % within("table-own", "Copy"))
    assert [line.split("\t") for line in copied.split("\n")] == shown


COPIED = """(async () => {
  let text = null;
  const clipboard = {writeText: async written => { text = written; }};
  Object.defineProperty(navigator, 'clipboard', {configurable: true, value: clipboard});
  %s.click();
  await new Promise(done => setTimeout(done, 50));
  return text;
})()"""


def test_tables_captions_and_texts_are_copied(browser: Browser, url: str) -> None:
    browser.open(url)
    table = browser.value(COPIED % within("table-few", "Copy")).split("\n")
    assert table == ["Name\tMCC", "loss00-r0\t0", "loss01-r0\t0.07"]
    caption = browser.value(COPIED % within("figure-forest", "Copy caption"))
    assert caption == "Figure 1. Figure of forest. What it shows."
    text = COPIED % "document.querySelector('#methods .toolbar button')"
    assert browser.value(text) == "We trained."
    click(browser, within("methods", "LaTeX"))
    assert browser.value(text) == "We \\emph{trained}."
    shown = "Array.from(document.querySelectorAll('[role=tabpanel]'), p => !p.hidden)"
    assert browser.value(shown) == [False, True]


def test_a_format_of_a_text_is_saved(browser: Browser, url: str, saved: Any) -> None:
    browser.open(url)
    click(browser, within("methods", "LaTeX"))
    assert saved(within("methods", "Save"), "methods.tex") == b"We \\emph{trained}."


# ---- figures --------------------------------------------------------------------------------
def test_a_figure_is_saved_as_svg(browser: Browser, url: str, saved: Any) -> None:
    browser.open(url)
    root = ElementTree.fromstring(saved(within("figure-forest", "SVG"), "forest.svg"))
    assert (root.get("width"), root.get("height")) == ("101.6mm", "50.8mm")
    words = " ".join(root.itertext())
    assert EVIL in words and "cross-entropy †" in words
    images = [e for e in root.iter() if e.tag.endswith("}image")]
    (uri,) = (e.get("{http://www.w3.org/1999/xlink}href") for e in images)
    assert uri.startswith("data:image/png;base64,")  # what other programs read


def chunks(png: bytes) -> dict[bytes, bytes]:
    found, place = {}, 8
    while place < len(png):
        (size,) = struct.unpack(">I", png[place : place + 4])
        kind, data = png[place + 4 : place + 8], png[place + 8 : place + 8 + size]
        (crc,) = struct.unpack(">I", png[place + 8 + size : place + 12 + size])
        assert zlib.crc32(kind + data) == crc, kind
        found.setdefault(kind, data)
        place += 12 + size
    return found


def test_a_figure_is_saved_as_png_of_300_dpi(browser: Browser, url: str, saved: Any) -> None:
    browser.open(url)
    data = saved(within("figure-forest", "PNG 300 dpi"), "forest.png")
    found = chunks(data)
    width, height = struct.unpack(">II", found[b"IHDR"][:8])
    assert (width, height) == (1200, 600)  # 4 by 2 inches
    assert found[b"IHDR"][9] == 2  # red, green, blue, no alpha
    assert struct.unpack(">IIB", found[b"pHYs"]) == (11811, 11811, 1)  # per metre
    pixels = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    assert (pixels[0, 0] == 255).all()
    # Both panels are there: the line in blue, the image in many colours.
    assert len(np.unique(pixels[:, 600:].reshape(-1, 3), axis=0)) > 200
    assert ((pixels[..., 0] > 150) & (pixels[..., 2] < 60))[:, :600].sum() > 300


def test_a_figure_is_saved_as_pdf(browser: Browser, url: str, saved: Any) -> None:
    """As Matplotlib made it where the page carries that, else as a picture, which is said."""
    browser.open(url)
    assert saved(within("figure-forest", "PDF"), "forest.pdf") == PDF
    assert browser.value(f"{within('figure-forest', 'PDF')}.title") == "As a drawing"
    made = saved(within("figure-roc", "PDF"), "roc.pdf")
    title = browser.value(f"{within('figure-roc', 'PDF')}.title")
    assert title == (
        "As a picture of 300 dpi; the drawing is figures/roc.pdf in the study's folder"
    )
    assert made.startswith(b"%PDF-1.4") and made.endswith(b"%%EOF\n")
    assert b"/MediaBox[0 0 288.000 144.000]" in made
    (start,) = re.findall(rb"startxref\n(\d+)\n", made)
    table = made[int(start) :].split(b"\n")
    assert table[:2] == [b"xref", b"0 6"]
    for number, line in enumerate(table[3:8], start=1):
        assert made[int(line[:10]) :].startswith(b"%d 0 obj\n" % number)
    stream = re.search(rb"/Width 1200/Height 600.*?/Length (\d+)>>stream\n", made)
    assert stream is not None
    raw = zlib.decompress(made[stream.end() : stream.end() + int(stream[1])])
    assert len(raw) == 1200 * 600 * 3 and raw[:3] == b"\xff\xff\xff"


def test_the_numbers_of_a_figure_are_saved(browser: Browser, url: str, saved: Any) -> None:
    browser.open(url)
    assert saved(within("figure-forest", "CSV"), "forest.csv") == CURVES.encode()
    lacking = within("figure-roc", "CSV")
    assert browser.value(f"{lacking}.disabled") is True
    assert browser.value(f"{lacking}.title") == (
        "Not in this page: figures/roc.csv is in the study's folder"
    )


def test_a_figure_is_enlarged_by_keyboard(browser: Browser, url: str) -> None:
    browser.open(url)
    browser.value("document.querySelector('#figure-roc .enlarge').focus()")
    before = browser.value(
        "document.querySelector('#figure-roc svg').getBoundingClientRect().width"
    )
    browser.press("Enter", 13)
    assert browser.value("document.querySelector('.lightbox').open") is True
    wide = "document.querySelector('.lightbox svg').getBoundingClientRect().width"
    fit = browser.value(wide)
    assert fit > 1.5 * before
    click(browser, "Array.from(document.querySelectorAll('.lightbox button'))[1]")
    assert browser.value(wide) == pytest.approx(1.5 * fit, rel=0.01)
    assert "What it shows." in browser.value("document.querySelector('.lightbox .under').innerText")
    browser.press("Escape", 27)
    browser.value("new Promise(done => setTimeout(done, 50))")
    assert browser.value("document.querySelector('.lightbox').open") is False
    assert browser.value("document.activeElement.matches('#figure-roc .enlarge')")
    assert browser.value("document.querySelectorAll('#figure-roc svg').length") == 1


def test_figures_on_a_phone(browser: Browser, url: str) -> None:
    browser.open(url, 390, 844)
    shown = browser.value(
        """(() => {
          const box = document.querySelector('#figure-forest .picture');
          const letter = box.querySelector('text').getBoundingClientRect();
          const button = getComputedStyle(box.querySelector('.enlarge'));
          return [box.clientWidth, box.scrollWidth, button.opacity,
            document.scrollingElement.scrollWidth, letter.height];
        })()"""
    )
    assert shown[0] < 390 and shown[1] > shown[0] and shown[2] == "1" and shown[3] == 390
    assert shown[4] > 10
    browser.value(
        "document.querySelector('#figure-forest svg')"
        ".dispatchEvent(new MouseEvent('click', {bubbles: true}))"
    )
    assert browser.value("document.querySelector('.lightbox').open") is True
    assert browser.value("document.querySelector('.stage').scrollWidth") > 800
    assert browser.value("document.querySelector('.stage').clientWidth") < 390
    # Paper has the page, not what is enlarged.
    browser.value("dispatchEvent(new Event('beforeprint'))")
    assert browser.value("document.querySelector('.lightbox').open") is False
    assert browser.value("document.querySelectorAll('#figure-forest svg').length") == 1


# ---- models ---------------------------------------------------------------------------------
PICKED = "Array.from(document.querySelectorAll('.picked'), e => e.tagName.toLowerCase())"


def test_a_model_is_highlighted_everywhere(browser: Browser, url: str) -> None:
    browser.open(url)
    offered = "Array.from(document.querySelectorAll('#pick option'), o => o.textContent)"
    assert browser.value(offered)[:3] == ["Highlight a model…", "cross-entropy", "loss00"]
    browser.value(
        "(p => { p.value = 'cross-entropy'; p.dispatchEvent(new Event('change')) })"
        "(document.getElementById('pick'))"
    )
    # The headline, the card, and label and curve of three figures.
    assert sorted(browser.value(PICKED)) == sorted(["span"] * 2 + ["text", "g"] * 3)
    assert browser.value("location.hash") == "#model=cce-r0"
    # The address keeps it, also over a link within the page; opened anew it is there again.
    browser.value(
        "new Promise(done => { addEventListener('hashchange', () => setTimeout(done)); "
        "document.querySelector('nav a[href=\"#data\"]').click() })"
    )
    address = browser.value("location.href")
    assert address.endswith("#data&model=cce-r0")
    browser.open("about:blank")
    browser.open(address)
    assert len(browser.value(PICKED)) == 8
    assert browser.value(
        "Math.abs(document.getElementById('data').getBoundingClientRect().top) < 60"
    )
    browser.press("Escape", 27)
    assert browser.value(PICKED) == [] and browser.value("location.hash") == "#data"


def test_a_name_picks_its_model(browser: Browser, url: str) -> None:
    browser.open(url)
    click(browser, "document.querySelector('#rows-scores [data-model=\"loss05-r0\"]')")
    # In each of three tables a name and its row.
    assert sorted(browser.value(PICKED)) == sorted(["span", "tr"] * 3)
    assert browser.value("document.getElementById('pick').value") == "loss05"
    click(browser, "document.querySelector('#rows-scores [data-model=\"loss05-r0\"]')")
    assert browser.value(PICKED) == []


# ---- terms ----------------------------------------------------------------------------------
def test_a_term_is_explained_in_place(browser: Browser, url: str) -> None:
    browser.open(url)
    browser.value("document.querySelector('a.term').focus()")
    browser.press("Enter", 13)
    bubble = "document.getElementById('bubble')"
    assert browser.value(f"{bubble}.innerText") == "MCC Agreement."
    assert browser.value("document.querySelector('a.term').getAttribute('aria-describedby')")
    assert browser.value("location.hash") == ""
    browser.press("Escape", 27)
    assert browser.value(f"{bubble}.hidden") is True


# ---- colours, paper -------------------------------------------------------------------------
def test_dark_by_the_system_or_by_a_button(browser: Browser, url: str) -> None:
    paper = "getComputedStyle(document.body).backgroundColor"
    try:
        browser.media(prefers_color_scheme="dark")
        browser.open(url)
        assert browser.value(paper) == "rgb(20, 24, 29)"
        # Figures are drawn for white.
        figure = "getComputedStyle(document.querySelector('.picture')).backgroundColor"
        assert browser.value(figure) == "rgb(255, 255, 255)"
        click(browser, "document.querySelector('.switches button')")
        assert browser.value(paper) == "rgb(255, 255, 255)"
        browser.open(url)
        assert browser.value(paper) == "rgb(255, 255, 255)"  # it is kept
    finally:
        browser.value("localStorage.clear()")
        browser.media()


def pages(pdf: bytes) -> int:
    return len(re.findall(rb"/Type\s*/Page\b", pdf))


def test_paper_has_result_and_trust_and_the_rest_if_asked(browser: Browser, url: str) -> None:
    shown = (
        "Array.from(document.querySelectorAll('.level'))"
        ".filter(l => l.getBoundingClientRect().height).map(l => l.dataset.level)"
    )
    rows = (
        "Array.from(document.querySelectorAll('#rows-scores tbody tr'))"
        ".filter(r => r.getBoundingClientRect().height).length"
    )
    pictures = (
        "Array.from(document.querySelectorAll('.picture'))"
        ".filter(p => p.getBoundingClientRect().height).map(p => p.closest('figure').id)"
    )
    first = "document.querySelector('#table-scores .first-rows').getBoundingClientRect().height"
    numbers = {}
    for address in (url, f"{url}?print=all"):
        browser.open(address)
        numbers[address] = pages(browser.pdf())
        browser.media(media="print")
        levels = ["result", "trust"] if address == url else ["result", "trust", "paper", "appendix"]
        assert browser.value(shown) == levels
        # Of a long table the rows that the page opens with, which says so.
        assert browser.value(rows) == (blocks.ROWS_SHOWN if address == url else ROWS)
        assert bool(browser.value(first)) == (address == url)
        # What belongs to a supplement is named on paper only.
        told = "document.querySelector('#figure-roc strong').getBoundingClientRect().height"
        assert browser.value(told) > 0
        assert ("figure-roc" in browser.value(pictures)) == (address != url)
        assert "figure-forest" in browser.value(pictures)
        browser.media()
    assert 2 <= numbers[url] <= 4 < numbers[f"{url}?print=all"]
    browser.open(url)
    click(browser, "document.querySelector('.switches input')")
    assert pages(browser.pdf()) == numbers[f"{url}?print=all"]
    rules = browser.value(
        "Array.from(document.styleSheets[0].cssRules).filter(r => r.type === CSSRule.PAGE_RULE)"
        ".map(r => r.cssText).join(' ')"
    )
    assert "counter(page)" in rules and "@bottom-right" in rules
    assert 'content: "Study a_study"' in rules
    assert 'content: "Demonstration on generated images."' in rules


# ---- everybody ------------------------------------------------------------------------------
def test_readable_without_a_script(browser: Browser, url: str) -> None:
    browser.call("Emulation.setScriptExecutionDisabled", value=True)
    try:
        browser.open(url)
        found = browser.value(
            """(() => {
              const all = selector => Array.from(document.querySelectorAll(selector));
              const box = element => element.getBoundingClientRect();
              return [all('button').length,
                all('#rows-scores tr > *').filter(cell => !box(cell).height).length,
                all('main section:not(#all) svg').every(one => box(one).width > 100),
                all('.copies > *').every(one => box(one).height > 5), all('nav a').length];
            })()"""
        )
    finally:
        browser.call("Emulation.setScriptExecutionDisabled", value=False)
    assert found == [0, 0, True, True, 6]


@pytest.mark.skipif(not AXE.is_file(), reason=NO_AXE)
@pytest.mark.parametrize("look", ["light", "dark", "phone", "enlarged"])
def test_axe_finds_nothing(browser: Browser, url: str, look: str) -> None:
    try:
        if look == "dark":
            browser.media(prefers_color_scheme="dark")
        browser.open(url, *((390, 844) if look == "phone" else ()))
        browser.value("document.querySelectorAll('details').forEach(fold => fold.open = true)")
        if look == "enlarged":
            click(browser, "document.querySelector('.enlarge')")
        passes, found = browser.axe()
    finally:
        browser.media()
    assert passes > 20 and found == []


# ---- what the page is made of ---------------------------------------------------------------
def test_what_the_page_carries(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = parts(tmp_path)
    results = Results(tmp_path)

    def names() -> list[str]:
        return [one.name for one in attachments.carried(made, results)]

    assert names() == ["figures/forest.csv", "figures/forest.pdf", "tables/scores.csv"]
    (curves, pdf) = (len(zlib.compress(data, 9)) for data in (CURVES.encode(), PDF))
    monkeypatch.setattr(attachments, "MAX_PDF", pdf - 1)
    monkeypatch.setattr(attachments, "MAX_CSV", curves)
    assert names() == ["figures/forest.csv"]
    monkeypatch.setattr(attachments, "MAX_CSV", curves - 1)
    assert names() == []
    monkeypatch.setattr(attachments, "MAX_PDF", pdf)
    assert names() == ["figures/forest.pdf"]
    monkeypatch.setattr(attachments, "MAX_PDFS", pdf - 1)
    assert names() == []
    # What an earlier config left in the folder is not carried.
    assert attachments.carried(made, Results(tmp_path, [tmp_path / "figures/roc.png"])) == []


def test_the_name_of_a_study_cannot_leave_the_style(tmp_path: Path) -> None:
    text = templates.css_string('x"} </style><script>1 \N{GREEK SMALL LETTER BETA}')
    assert re.fullmatch(r'"[a-z0-9\\ ]*"', text)
    assert text.startswith('"x\\22 \\7d \\20 \\3c \\2f style\\3e ') and text.endswith('\\3b2 "')


def test_dois_of_references() -> None:
    linked = report.references_to.with_dois
    doi = '<a href="https://doi.org/{0}" rel="noreferrer">{1}</a>'.format
    assert linked("A. doi:10.1109/ISBI.2019.8759329. B") == (
        f"A. {doi('10.1109/ISBI.2019.8759329', 'doi:10.1109/ISBI.2019.8759329')}. B"
    )
    assert linked("arXiv:1810.03292") == doi("10.48550/arXiv.1810.03292", "arXiv:1810.03292")
    for untouched in (
        '<p title="doi:10.1/x">',
        '<a href="https://doi.org/10.1/x">doi:10.1/x</a>',
        '<a href="https://doi.org/10.1007/978-3_28">doi:10.1007/978-3_28</a>',
        '<a href="https://doi.org/10.1016/S08(05)80-1">doi:10.1016/S08(05)80-1</a>',
        '<a href="#x">A <b>and\n</b> arXiv:1810.03292</a>',
        "doi:none",
        json.dumps({"doi": "10.1/x"}),
    ):
        assert linked(untouched) == untouched


def test_every_term_has_its_words() -> None:
    assert len(glossary.known()) >= 15
    for entry in glossary.known().values():
        assert set(entry) == {"term", "text"} and entry["text"].endswith(".")
    assert glossary.term("mcc") == '<a class="term" href="#term-mcc">MCC</a>'
    assert glossary.term("mcc", "<x>") == '<a class="term" href="#term-mcc">&lt;x&gt;</a>'
    with pytest.raises(UserError, match="there is no term 'nothing'"):
        glossary.term("nothing")
