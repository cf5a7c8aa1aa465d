"use strict";
// Sortable tables: a button in each column head, the order told to screen readers by aria-sort.
// Of a long table the first rows are shown, in whatever order it stands; the button below it
// shows all. Sorting always moves all rows, and paper has them all.
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

  const opened = new WeakSet();

  function fold(table) {
    const shown = opened.has(table) ? Infinity : Number(table.dataset.shown);
    Array.from(table.tBodies[0].rows, (row, place) => {
      row.classList.toggle("beyond", place >= shown);
    });
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
    if (table.dataset.shown) fold(table);
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

  const long = Array.from(document.querySelectorAll("table[data-shown]"), (table) => {
    const button = document.createElement("button");
    const count = table.tBodies[0].rows.length;
    button.type = "button";
    button.className = "rest";
    button.setAttribute("aria-controls", table.id);
    function toggle(open) {
      if (open) opened.add(table);
      else opened.delete(table);
      fold(table);
      button.setAttribute("aria-expanded", String(open));
      button.textContent = open ? `Show ${table.dataset.shown} of ${count} rows` : `Show all ${count} rows`;
    }
    button.addEventListener("click", () => toggle(!opened.has(table)));
    table.closest(".scroll").after(button);
    toggle(false);
    return toggle;
  });
  // The browser's own search finds only what is shown.
  window.addEventListener("keydown", (event) => {
    if (event.key === "F3" || ((event.ctrlKey || event.metaKey) && event.key === "f")) {
      for (const toggle of long) toggle(true);
    }
  });

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

  // On paper folds are open.
  let closed = [];
  window.addEventListener("beforeprint", () => {
    closed = Array.from(document.querySelectorAll("main details:not([open])"));
    for (const details of closed) details.open = true;
  });
  window.addEventListener("afterprint", () => {
    for (const details of closed) details.open = false;
  });
})();
