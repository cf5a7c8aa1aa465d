// Tables: sort, filter, all rows, more columns, CSV. Each works on all rows of the one table.
const collator = new Intl.Collator("en", { numeric: true });
const missing = "\u2013";
const shownIn = new WeakMap(); // table -> draws its rows again

function value(row, index) {
  const cell = row.cells[index];
  const text = cell.dataset.v !== undefined ? cell.dataset.v : plain(cell);
  return text === missing ? "" : text;
}

function sort(table, index, direction) {
  const body = table.tBodies[0];
  const rows = Array.from(body.rows, (row) => ({ row, key: value(row, index) }));
  const filled = rows.filter((item) => item.key !== "");
  const empty = rows.filter((item) => item.key === "");
  const numeric = filled.every((item) => !Number.isNaN(Number(item.key)));
  const sign = direction === "ascending" ? 1 : -1;
  const compare = numeric ? (a, b) => Number(a) - Number(b) : collator.compare;
  filled.sort((a, b) => sign * compare(a.key, b.key));
  body.append(...filled.concat(empty).map((item) => item.row));
  Array.from(table.tHead.rows[0].cells, (head, position) => {
    if (position === index) head.setAttribute("aria-sort", direction);
    else head.removeAttribute("aria-sort");
  });
  shownIn.get(table)();
}

function sortable(table) {
  const buttons = Array.from(table.tHead.rows[0].cells, (head, index) => {
    const one = button("", () => {
      const first = head.classList.contains("n") ? "descending" : "ascending";
      const other = first === "ascending" ? "descending" : "ascending";
      sort(table, index, head.getAttribute("aria-sort") === first ? other : first);
    });
    one.append(...head.childNodes);
    head.append(one);
    if (head.title) one.title = head.title;
    return one;
  });
  roving(buttons);
}

// A field that looks CSV the way spreadsheets read it.
const quoted = (text) => (/[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text);

// The rows of the table as it stands, values in full; intervals in a column of their own.
function cells(table) {
  const heads = Array.from(table.tHead.rows[0].cells, plain);
  const rows = Array.from(table.tBodies[0].rows, (row) => Array.from(row.cells));
  const ends = heads.map((_, place) => rows.some((row) => row[place].querySelector(".ci")));
  const text = (cell) => {
    const found = cell.cloneNode(true);
    for (const one of found.querySelectorAll(".ci")) one.remove();
    return plain(found);
  };
  const number = (cell, head) => cell.dataset.v !== undefined && head.classList.contains("n");
  const line = (row) =>
    row.flatMap((cell, place) => {
      const head = table.tHead.rows[0].cells[place];
      const shown = number(cell, head) ? cell.dataset.v : text(cell);
      const interval = cell.querySelector(".ci");
      return ends[place] ? [shown, interval ? plain(interval).replace(/[()]/g, "") : ""] : [shown];
    });
  const names = heads.flatMap((head, place) => (ends[place] ? [head, `${head}, interval`] : [head]));
  return [names, ...rows.map(line)];
}

const csv = (table) => cells(table).map((row) => `${row.map(quoted).join(",")}\r\n`).join("");

function saving(table, name) {
  const file = table.dataset.file;
  const whole = file && carried.has(file);
  const title = whole
    ? `All of ${file}`
    : `The rows and columns of this table${file ? `; ${file} is in the study's folder` : ""}`;
  return button("CSV", async () => {
    if (whole) saveTable(shortName(file), await unpacked(file));
    else saveTable(`${name}.csv`, csv(table));
  }, { title });
}

function equip(table) {
  const body = table.tBodies[0];
  const total = body.rows.length;
  const name = table.id.replace(/^rows-/, "");
  const scroll = table.closest(".scroll");
  const frame = table.closest(".frame");
  const most = Number(table.dataset.shown) || Infinity;
  const words = new WeakMap(Array.from(body.rows, (row) => [row, plain(row).toLowerCase()]));
  let open = false;
  let wanted = [];

  const rest = button("", () => {
    open = !open;
    draw();
  }, { "aria-controls": table.id, className: "rest" });
  const field = element("input", {
    type: "search", placeholder: "Words in a row", hidden: true, "aria-label": "Show rows with these words",
  });
  const found = element("span", { className: "found", "aria-live": "polite" });
  const filter = button("Filter", () => {
    field.hidden = !field.hidden;
    filter.setAttribute("aria-expanded", String(!field.hidden));
    if (field.hidden) field.value = "";
    else field.focus();
    look();
  }, { "aria-expanded": "false" });

  function draw() {
    let place = 0;
    for (const row of body.rows) {
      const fits = wanted.every((word) => words.get(row).includes(word));
      row.classList.toggle("unfit", !fits);
      row.classList.toggle("beyond", fits && !open && !wanted.length && place >= most);
      if (fits) place += 1;
    }
    // A head that stays in sight needs a frame that scrolls.
    scroll.classList.toggle("tall", total > 25 && (open || most >= total));
    rest.hidden = most >= total || wanted.length > 0;
    rest.setAttribute("aria-expanded", String(open));
    rest.textContent = open ? `Show ${most} of ${total} rows` : `Show all ${total} rows`;
    found.textContent = wanted.length ? `${place} of ${total} rows` : "";
  }
  function look() {
    // The field below the table stays where it is.
    scroll.style.minHeight = field.value ? scroll.style.minHeight || `${scroll.offsetHeight}px` : "";
    wanted = field.value.toLowerCase().split(/\s+/).filter(Boolean);
    draw();
  }
  field.addEventListener("input", look);
  field.addEventListener("keydown", (event) => {
    if (event.key !== "Escape") return;
    event.stopPropagation();
    filter.click();
    filter.focus();
  });
  shownIn.set(table, draw);

  const buttons = [];
  if (most < total) buttons.push(rest);
  const more = table.tHead.querySelectorAll(".more").length;
  const columns = button("", () => widen(!table.classList.contains("wide")), { className: "columns" });
  function widen(wide) {
    table.classList.toggle("wide", wide);
    columns.textContent = wide ? "Fewer columns" : `More columns (${more})`;
    columns.setAttribute("aria-expanded", String(wide));
  }
  widen(false);
  if (more) buttons.push(columns);
  if (total > 7) buttons.push(filter);
  buttons.push(saving(table, name));
  buttons.push(button("Copy", (one) =>
    copy(cells(table).map((row) => row.map(guarded).join("\t")).join("\n"), one), {
    title: "Copy the table, to paste it into a spreadsheet",
  }));
  const bar = toolbar(`Table ${name}`, buttons);
  frame.after(element("div", { className: "under-table" }, bar, field, found));

  // A shade where columns are out of sight.
  function edge() {
    const cut = scroll.scrollWidth - scroll.clientWidth - scroll.scrollLeft > 2;
    frame.classList.toggle("cut", cut);
    frame.style.setProperty("--head", `${table.tHead.offsetTop}px`);
  }
  scroll.addEventListener("scroll", edge, { passive: true });
  const sizes = new ResizeObserver(edge);
  sizes.observe(scroll);
  sizes.observe(table);

  if (total > 1) {
    sortable(table);
    scroll.removeAttribute("tabindex"); // the heads inside are its tab stop
  }
  draw();
  opened.set(table, {
    rows() {
      if (!field.hidden) filter.click();
      open = true;
      draw();
    },
    columns: () => widen(true),
  });
}

const tables = all("table.sortable");
tables.forEach(equip);
// The browser's own search finds only what is shown.
window.addEventListener("keydown", (event) => {
  if (event.key === "F3" || ((event.ctrlKey || event.metaKey) && event.key === "f")) {
    for (const table of tables) opened.get(table).rows();
  }
});
