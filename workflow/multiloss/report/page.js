"use strict";
// Sortable tables: a button in each column head, the order told to screen readers by aria-sort.
(function () {
  const collator = new Intl.Collator("en", { numeric: true });
  const missing = "\u2013";

  function value(row, index) {
    const cell = row.cells[index];
    const text = cell.dataset.v !== undefined ? cell.dataset.v : cell.textContent.trim();
    return text === missing ? "" : text;
  }

  function compare(a, b, numeric) {
    return numeric ? Number(a) - Number(b) : collator.compare(a, b);
  }

  function sort(table, index, direction) {
    const body = table.tBodies[0];
    const rows = Array.from(body.rows, (row) => ({ row, key: value(row, index) }));
    const filled = rows.filter((item) => item.key !== "");
    const empty = rows.filter((item) => item.key === "");
    const numeric = filled.every((item) => !Number.isNaN(Number(item.key)));
    const sign = direction === "ascending" ? 1 : -1;
    filled.sort((a, b) => sign * compare(a.key, b.key, numeric));
    body.append(...filled.concat(empty).map((item) => item.row));
    Array.from(table.tHead.rows[0].cells, (head, position) => {
      if (position === index) head.setAttribute("aria-sort", direction);
      else head.removeAttribute("aria-sort");
    });
  }

  for (const table of document.querySelectorAll("table.sortable")) {
    if (table.tBodies[0].rows.length < 2) continue;
    Array.from(table.tHead.rows[0].cells, (head, index) => {
      const button = document.createElement("button");
      button.type = "button";
      button.append(...head.childNodes);
      head.append(button);
      button.addEventListener("click", () => {
        const first = head.classList.contains("n") ? "descending" : "ascending";
        const other = first === "ascending" ? "descending" : "ascending";
        sort(table, index, head.getAttribute("aria-sort") === first ? other : first);
      });
    });
  }

  // On a phone the table of contents would push the answer off the first screen.
  const contents = document.querySelector("nav details");
  if (window.matchMedia("(max-width: 60rem)").matches) contents.open = false;

  // A link into a fold opens it.
  function reveal() {
    const target = location.hash && document.getElementById(location.hash.slice(1));
    for (let node = target; node; node = node.parentElement) {
      if (node.tagName === "DETAILS") node.open = true;
    }
  }
  window.addEventListener("hashchange", reveal);
  reveal();

  // On paper folds are open, but for tables whose first rows are shown anyway.
  let opened = [];
  window.addEventListener("beforeprint", () => {
    opened = Array.from(document.querySelectorAll("main details:not([open]):not(.long)"));
    for (const fold of opened) fold.open = true;
  });
  window.addEventListener("afterprint", () => {
    for (const fold of opened) fold.open = false;
  });
})();
