"""The report of a made-up study in a real browser: layout, contrast, sorting of every table."""

import pytest
from browser import AXE, NO_AXE, Browser
from multiloss import report
from report_studies import CITATION, VERSIONS, complete
from synthetic_results import make


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The page of a study of seven classes and two seeds."""
    folder = tmp_path_factory.mktemp("seven classes")
    study = make(
        folder,
        classes=7,
        losses=["cce", "kl_divergence", "focal", "calibrated_focal"],
        replicates=2,
        test_images=210,
        save_images=False,
        placeholder_figures=True,
    )
    page = study.results / "report.html"
    config = complete(study.config)
    text = report.build(study.results, config, versions=VERSIONS, citation=CITATION)
    page.write_text(text, encoding="utf-8")
    return page.as_uri()


OPEN_ALL = "document.querySelectorAll('details').forEach(fold => fold.open = true)"


def test_loads_without_errors_and_without_network(browser: Browser, url: str) -> None:
    browser.open(url)
    browser.value(OPEN_ALL)
    browser.value("new Promise(done => setTimeout(() => done(1), 300))")
    assert browser.seen("Runtime.exceptionThrown") == []
    assert [e for e in browser.seen("Runtime.consoleAPICalled") if e["type"] == "error"] == []
    assert browser.seen("Log.entryAdded") == []
    asked = [event["request"]["url"] for event in browser.seen("Network.requestWillBeSent")]
    assert [address for address in asked if not address.startswith("data:")] == [url]
    assert browser.seen("Network.loadingFailed") == []


def test_the_page_refuses_the_network(browser: Browser, url: str) -> None:
    browser.open(url)
    blocked = browser.value(
        """new Promise(done => {
          document.addEventListener('securitypolicyviolation', e => done(e.violatedDirective));
          const image = new Image();
          image.onload = () => done('loaded');
          image.src = 'http://127.0.0.1:9/pixel.png';
        })"""
    )
    assert blocked == "img-src"


def test_loads_at_once(browser: Browser, url: str) -> None:
    """The best of three, since other work may share the machine."""
    times = []
    for _ in range(3):
        browser.open(url)
        entry = "performance.getEntriesByType('navigation')[0]"
        times.append(browser.value(f"{entry}.loadEventEnd - {entry}.startTime"))
    assert min(times) < 1500


@pytest.mark.parametrize("width", [1280, 375])
def test_figures_are_visible(browser: Browser, url: str, width: int) -> None:
    browser.open(url, width)
    browser.value(OPEN_ALL)
    shown = browser.value(
        """Array.from(document.querySelectorAll('figure svg'), s =>
        [s.getBoundingClientRect().width, s.parentElement.getBoundingClientRect().width,
         s.getAttribute('aria-label').length])"""
    )
    assert len(shown) > 20
    for drawn, framed, described in shown:
        assert drawn > 100 and framed <= width and described > 0


@pytest.mark.parametrize("width", [320, 375, 768, 1280])
def test_no_sideways_scrolling(browser: Browser, url: str, width: int) -> None:
    browser.open(url, width)
    browser.value(OPEN_ALL)
    wide = browser.value(
        """(() => {
          const wide = document.scrollingElement.scrollWidth;
          if (wide <= innerWidth) return [];
          return Array.from(document.querySelectorAll('main *')).filter(
            e => e.getBoundingClientRect().right > innerWidth + 1
              && !e.closest('.scroll, .picture'))
            .slice(0, 5).map(e => e.tagName + ' ' + e.className + ' ' + e.textContent.slice(0, 60));
        })()"""
    )
    assert wide == []
    assert browser.value("document.scrollingElement.scrollWidth") <= width


COLUMN = """(() => {
  const table = document.getElementById('rows-singles-classes');
  const index = %d;
  return Array.from(table.tBodies[0].rows, row => row.cells[index].dataset.v);
})()"""


def test_tables_sort_by_keyboard(browser: Browser, url: str) -> None:
    browser.open(url)
    heads = browser.value(
        "Array.from(document.querySelectorAll('#rows-singles-classes th[scope=col]'), "
        "head => head.textContent)"
    )
    index = heads.index("AUROC")
    select = f"document.querySelectorAll('#rows-singles-classes thead th')[{index}]"
    browser.value(f"{select}.querySelector('button').focus()")
    before = [float(value) for value in browser.value(COLUMN % index)]
    assert browser.value(f"{select}.getAttribute('aria-sort')") is None
    browser.press("Enter", 13)
    assert browser.value(f"{select}.getAttribute('aria-sort')") == "descending"
    falling = [float(value) for value in browser.value(COLUMN % index)]
    assert falling == sorted(before, reverse=True) != before
    browser.press("Enter", 13)
    assert browser.value(f"{select}.getAttribute('aria-sort')") == "ascending"
    assert [float(value) for value in browser.value(COLUMN % index)] == sorted(before)
    assert (
        browser.value("document.querySelectorAll('#rows-singles-classes [aria-sort]').length") == 1
    )


SORT_ALL = """(() => {
  const numeric = text => text !== '' && !Number.isNaN(Number(text));
  const found = [];
  for (const table of document.querySelectorAll('table.sortable')) {
    const body = table.tBodies[0];
    if (body.rows.length < 2) continue;
    Array.from(table.tHead.rows[0].cells, (head, index) => {
      if (!head.classList.contains('n')) return;
      const key = row => row.cells[index].dataset.v;
      const keys = Array.from(body.rows, key).filter(numeric).map(Number);
      if (!keys.length) return;
      const first = () => {
        const shown = Array.from(body.rows).filter(row => !row.classList.contains('beyond'));
        return [Number(key(shown[0])), shown.length];
      };
      head.querySelector('button').click();
      const [largest, above] = first();
      head.querySelector('button').click();
      const [smallest, below] = first();
      found.push({table: table.id, column: head.textContent, rows: body.rows.length, above, below,
        largest, smallest, max: Math.max(...keys), min: Math.min(...keys)});
    });
  }
  return found;
})()"""


def test_sorting_brings_the_true_best_and_worst_to_the_top(browser: Browser, url: str) -> None:
    """In all numeric columns of all tables, also those with hidden rows."""
    browser.open(url)
    found = browser.value(SORT_ALL)
    assert len({row["table"] for row in found}) > 15 and len(found) > 80
    long = [row for row in found if row["rows"] >= 25 and row["above"] < row["rows"]]
    assert len({row["table"] for row in long}) >= 2
    for row in found:
        assert (row["largest"], row["smallest"]) == (row["max"], row["min"]), row
    for row in long:
        assert row["above"] == row["below"] == 12


def test_hidden_rows_come_by_a_button_and_for_a_search(browser: Browser, url: str) -> None:
    browser.open(url)
    table = "document.getElementById('rows-singles-classes')"
    rows = f"Array.from({table}.tBodies[0].rows)"
    seen = f"{rows}.filter(row => row.getBoundingClientRect().height > 0).length"
    every = browser.value(f"{rows}.length")
    button = f"{table}.closest('.table').querySelector('button.rest')"
    assert every >= 25 and browser.value(seen) == 12
    assert browser.value(f"{button}.textContent") == f"Show all {every} rows"
    browser.value(f"{button}.focus()")
    browser.press("Enter", 13)
    assert browser.value(seen) == every
    assert browser.value(f"{button}.getAttribute('aria-expanded')") == "true"
    browser.press("Enter", 13)
    assert browser.value(seen) == 12
    browser.value("dispatchEvent(new KeyboardEvent('keydown', {key: 'f', ctrlKey: true}))")
    assert browser.value(seen) == every
    assert browser.value("document.querySelectorAll('tr.beyond').length") == 0


@pytest.mark.parametrize("how", ["paper", "no script"])
def test_all_rows_are_there_without_a_screen_or_a_script(
    browser: Browser, url: str, how: str
) -> None:
    if how == "no script":
        browser.call("Emulation.setScriptExecutionDisabled", value=True)
    else:
        browser.call("Emulation.setEmulatedMedia", media="print")
    try:
        browser.open(f"{url}?print=all")
        rows = (
            "Array.from(document.querySelectorAll('.level:is([data-level=result], "
            "[data-level=trust]) .table > .frame tbody tr'))"
        )
        unseen = "row => row.getBoundingClientRect().height === 0"
        hidden = browser.value(f"{rows}.filter({unseen}).length")
        buttons = browser.value("document.querySelectorAll('button').length")
    finally:
        browser.call("Emulation.setScriptExecutionDisabled", value=False)
        browser.call("Emulation.setEmulatedMedia", media="")
    assert hidden == 0
    assert (buttons == 0) == (how == "no script")


def test_paper_says_which_rows_it_leaves_out(browser: Browser, url: str) -> None:
    """Unless all is printed."""
    browser.media(media="print")
    browser.open(url)
    tables = browser.value(
        """Array.from(document.querySelectorAll(
          '.level:is([data-level=result], [data-level=trust]) .table:has(> .frame)'), table => {
            const seen = node => node && node.getBoundingClientRect().height > 0;
            const rows = Array.from(table.querySelectorAll('tbody tr'));
            const note = table.querySelector('.first-rows');
            return [rows.filter(seen).length, rows.length, seen(note) ? note.textContent : ''];
        })"""
    )
    browser.media()
    assert any(shown < total for shown, total, _ in tables)
    for shown, total, note in tables:
        said = f"The first {shown} of {total} rows; all are in the report itself."
        assert note == (said if shown < total else "")


def test_text_and_missing_values_sort(browser: Browser, url: str) -> None:
    browser.open(url)
    found = browser.value(
        """(() => {
          const body = document.querySelector('#rows-trainings tbody');
          const heads = document.querySelectorAll('#rows-trainings thead th');
          body.rows[1].cells[4].dataset.v = '';
          const click = i => heads[i].querySelector('button').click();
          const text = i => Array.from(body.rows, r => r.cells[i].textContent.trim());
          const keys = () => Array.from(body.rows, r => r.cells[4].dataset.v);
          click(0); const names = text(0);
          click(4); const down = keys();
          click(4); const up = keys();
          return [names, down, up];
        })()"""
    )
    names, down, up = found
    assert names == sorted(names, key=str.casefold)
    for keys in (down, up):
        assert keys[-1] == "" and "" not in keys[:-1]


CONTRAST = """(() => {
  const parse = text => (text.match(/[\\d.]+/g) || []).map(Number);
  const light = ([r, g, b]) => {
    const [x, y, z] = [r, g, b].map(v => v / 255).map(
      v => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
    return 0.2126 * x + 0.7152 * y + 0.0722 * z;
  };
  const background = element => {
    for (let node = element; node; node = node.parentElement) {
      const [r, g, b, a = 1] = parse(getComputedStyle(node).backgroundColor);
      if (a === 1) return [r, g, b];
    }
    return [255, 255, 255];
  };
  const bad = [];
  let seen = 0;
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const element = walker.currentNode.parentElement;
    if (!walker.currentNode.textContent.trim() || element.closest('script, style, svg')) continue;
    const style = getComputedStyle(element);
    const size = parseFloat(style.fontSize);
    const large = size >= 24 || (size >= 18.66 && Number(style.fontWeight) >= 700);
    const [a, b] = [light(parse(style.color)), light(background(element))].sort((x, y) => y - x);
    const ratio = (a + 0.05) / (b + 0.05);
    seen += 1;
    if (ratio < (large ? 3 : 4.5)) bad.push([ratio, element.tagName, element.className]);
  }
  return [seen, bad.slice(0, 5)];
})()"""


def test_text_contrast_meets_wcag_aa(browser: Browser, url: str) -> None:
    browser.open(url)
    browser.value(OPEN_ALL)
    seen, bad = browser.value(CONTRAST)
    assert seen > 1000
    assert bad == []


@pytest.mark.skipif(not AXE.is_file(), reason=NO_AXE)
def test_axe_finds_nothing(browser: Browser, url: str) -> None:
    browser.open(url)
    browser.value(OPEN_ALL)
    passes, found = browser.axe()
    assert passes > 20 and found == []


def test_contents_fold_on_a_phone_and_links_lead_to_their_sections(
    browser: Browser, url: str
) -> None:
    browser.open(url, 375)
    assert browser.value("document.querySelector('nav details').open") is False
    top = browser.value("document.getElementById('answer').getBoundingClientRect().top")
    assert top < 400
    fold = "document.querySelector('details.gallery')"
    assert browser.value(f"{fold}.open") is False
    browser.value(
        f"""new Promise(done => {{
          addEventListener('hashchange', () => setTimeout(done, 0));
          location.hash = {fold}.querySelector('figure').id;
        }})"""
    )
    assert browser.value(f"{fold}.open") is True


def test_columns_of_sentences_can_be_read_on_a_phone(browser: Browser, url: str) -> None:
    browser.open(url, 375)
    browser.value(OPEN_ALL)
    widths = browser.value(
        "Array.from(document.querySelectorAll('td.words'), c => c.getBoundingClientRect().width)"
        ".filter(width => width)"  # long tables show some of their rows
    )
    assert len(widths) > 20 and min(widths) > 200


def test_folds_are_open_where_all_is_printed(browser: Browser, url: str) -> None:
    browser.open(url)
    closed = browser.value("document.querySelectorAll('main details').length")
    still = "document.querySelectorAll('main details:not([open])').length"
    print_now = "window.dispatchEvent(new Event('beforeprint'))"
    assert closed > 0
    browser.value(print_now)
    assert browser.value(still) == closed
    browser.value("document.querySelector('.switches input').click()")
    browser.value(print_now)
    assert browser.value(still) == 0
    browser.value("window.dispatchEvent(new Event('afterprint'))")
    assert browser.value(still) == closed


def test_nothing_is_cut_off_on_paper(browser: Browser, url: str) -> None:
    """A4 less margins of 12 mm is 703 CSS pixels wide."""
    browser.open(f"{url}?print=all", width=703)
    browser.call("Emulation.setEmulatedMedia", media="print")
    try:
        browser.value("window.dispatchEvent(new Event('beforeprint'))")
        wide = browser.value(
            "[...document.querySelectorAll('main table')].filter("
            "t => t.getBoundingClientRect().right > 703).map(t => t.id)"
        )
        assert wide == []
        assert browser.value("document.documentElement.scrollWidth") <= 703
        # Chromium paints no buttons in the heads that it repeats on further pages, but their text.
        button = "getComputedStyle(document.querySelector('thead button'))"
        assert browser.value(f"{button}.display") == "contents"
    finally:
        browser.call("Emulation.setEmulatedMedia", media="")
