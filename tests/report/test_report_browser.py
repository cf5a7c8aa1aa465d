"""The report in a real browser: Debian's Chromium, headless, driven by its DevTools pipe.

The protocol's messages go through two file descriptors, so that no driver and no further
package is needed. Without /usr/bin/chromium the tests skip.
"""

import base64
import fcntl
import json
import os
import select
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from multiloss import report
from report_studies import CITATION, VERSIONS, complete
from synthetic_results import make

CHROMIUM = Path("/usr/bin/chromium")
FLAGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--remote-debugging-pipe",
]
PATIENCE = 180.0

pytestmark = pytest.mark.skipif(
    not CHROMIUM.exists(), reason=f"no browser: {CHROMIUM} is absent (apt-get install chromium)"
)


class Browser:
    """One tab, and everything it has said on its console and asked of the network."""

    def __init__(self, profile: Path) -> None:
        child_reads, self._write = os.pipe()
        self._read, child_writes = os.pipe()
        # Chromium reads from 3 and writes to 4; the originals must not be one of these.
        ends = [fcntl.fcntl(fd, fcntl.F_DUPFD, 10) for fd in (child_reads, child_writes)]

        def place() -> None:
            os.dup2(ends[0], 3)
            os.dup2(ends[1], 4)

        self.process = subprocess.Popen(
            [str(CHROMIUM), *FLAGS, f"--user-data-dir={profile}"],
            preexec_fn=place,
            close_fds=False,
            env={**os.environ, "HOME": str(profile)},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        for fd in (child_reads, child_writes, *ends):
            os.close(fd)
        self._buffer = b""
        self._number = 0
        self._session: str | None = None
        self.events: list[dict[str, Any]] = []
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        found = self.call("Target.attachToTarget", targetId=target, flatten=True)
        self._session = found["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable")

    def _message(self, until: float) -> dict[str, Any]:
        while b"\0" not in self._buffer:
            ready, _, _ = select.select([self._read], [], [], max(0.0, until - time.monotonic()))
            data = os.read(self._read, 1 << 20) if ready else b""
            if not data:
                raise TimeoutError("the browser does not answer")
            self._buffer += data
        raw, _, self._buffer = self._buffer.partition(b"\0")
        return json.loads(raw)

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        self._number += 1
        message: dict[str, Any] = {"id": self._number, "method": method, "params": parameters}
        if self._session:
            message["sessionId"] = self._session
        os.write(self._write, json.dumps(message).encode() + b"\0")
        until = time.monotonic() + PATIENCE
        while True:
            answer = self._message(until)
            if answer.get("id") == self._number:
                assert "error" not in answer, answer["error"]
                return answer["result"]
            self.events.append(answer)

    def open(self, url: str, width: int = 1280, height: int = 900) -> None:
        self.call(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=1,
            mobile=width < 600,
        )
        self.events.clear()
        self.call("Page.navigate", url=url)
        until = time.monotonic() + PATIENCE
        while not any(event.get("method") == "Page.loadEventFired" for event in self.events):
            self.events.append(self._message(until))

    def value(self, expression: str) -> Any:
        """The value of a JavaScript expression; a promise is awaited."""
        answer = self.call(
            "Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True
        )
        assert "exceptionDetails" not in answer, answer["exceptionDetails"]
        return answer["result"].get("value")

    def press(self, key: str, code: int) -> None:
        common = {"key": key, "code": key, "windowsVirtualKeyCode": code}
        text = {"text": "\r"} if key == "Enter" else {}
        self.call("Input.dispatchKeyEvent", type="keyDown", **common, **text)
        self.call("Input.dispatchKeyEvent", type="keyUp", **common)

    def seen(self, method: str) -> list[dict[str, Any]]:
        return [event["params"] for event in self.events if event.get("method") == method]

    def close(self) -> None:
        self.process.terminate()
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        os.close(self._read)
        os.close(self._write)


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    profile = tmp_path_factory.mktemp("profile")
    found = Browser(profile)
    yield found
    found.close()
    shutil.rmtree(profile, ignore_errors=True)


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


@pytest.mark.parametrize("width", [1280, 375])
def test_images_are_visible(browser: Browser, url: str, width: int) -> None:
    browser.open(url, width)
    browser.value(OPEN_ALL)
    images = browser.value(
        """Promise.all(Array.from(document.images, i => i.decode())).then(() =>
        Array.from(document.images, i =>
          [i.complete, i.naturalWidth, i.getBoundingClientRect().width, i.alt.length]))"""
    )
    assert len(images) > 20
    for loaded, natural, shown, described in images:
        assert loaded and natural > 0 and 0 < shown <= width and described > 0


@pytest.mark.parametrize("width", [320, 375, 768, 1280])
def test_no_sideways_scrolling(browser: Browser, url: str, width: int) -> None:
    browser.open(url, width)
    browser.value(OPEN_ALL)
    wide = browser.value(
        """(() => {
          const wide = document.scrollingElement.scrollWidth;
          if (wide <= innerWidth) return [];
          return Array.from(document.querySelectorAll('main *')).filter(
            e => e.getBoundingClientRect().right > innerWidth + 1 && !e.closest('.scroll'))
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
        browser.open(url)
        hidden = browser.value(
            "Array.from(document.querySelectorAll('section > .table > .scroll tbody tr'))"
            ".filter(row => row.getBoundingClientRect().height === 0).length"
        )
        buttons = browser.value("document.querySelectorAll('button').length")
    finally:
        browser.call("Emulation.setScriptExecutionDisabled", value=False)
        browser.call("Emulation.setEmulatedMedia", media="")
    assert hidden == 0
    assert (buttons == 0) == (how == "no script")


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
    assert names == sorted(names)
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


def test_prints(browser: Browser, url: str) -> None:
    browser.open(url)
    closed = browser.value("document.querySelectorAll('main details').length")
    assert closed > 0
    browser.value("window.dispatchEvent(new Event('beforeprint'))")
    still = "document.querySelectorAll('main details:not([open])').length"
    assert browser.value(still) == 0
    browser.value("window.dispatchEvent(new Event('afterprint'))")
    assert browser.value(still) == closed
    printed = base64.b64decode(browser.call("Page.printToPDF", paperWidth=8.27)["data"])
    assert printed.startswith(b"%PDF") and len(printed) > 50_000


def test_nothing_is_cut_off_on_paper(browser: Browser, url: str) -> None:
    """A4 less the browser's own margins of 1 cm is 718 CSS pixels wide."""
    browser.open(url, width=718)
    browser.call("Emulation.setEmulatedMedia", media="print")
    try:
        browser.value("window.dispatchEvent(new Event('beforeprint'))")
        wide = browser.value(
            "[...document.querySelectorAll('main table')].filter("
            "t => t.getBoundingClientRect().right > 718).map(t => t.id)"
        )
        assert wide == []
        assert browser.value("document.documentElement.scrollWidth") <= 718
        # Chromium paints no buttons in the heads that it repeats on further pages, but their text.
        button = "getComputedStyle(document.querySelector('thead button'))"
        assert browser.value(f"{button}.display") == "contents"
    finally:
        browser.call("Emulation.setEmulatedMedia", media="")
