// Search: sections, headings, figures, tables, their captions and columns, models, terms, sentences.
const field = element("input", {
  type: "search", id: "search", placeholder: "Find model, metric…", title: "Key: /",
  "aria-keyshortcuts": "/", autocomplete: "off",
  role: "combobox", "aria-expanded": "false", "aria-controls": "results", "aria-label": "Search the page",
});
const results = element("ul", { id: "results", role: "listbox", "aria-label": "Found", hidden: true });
const MOST = 12;
let index = null;

function indexed() {
  if (index) return index;
  index = [];
  const add = (kind, text, node, more = "") =>
    index.push({ kind, text, node, hay: `${text} ${more}`.toLowerCase() });
  for (const section of sections) add("Section", plain(links.get(section)), section);
  for (const node of all("main h3")) add("Section", plain(node), node);
  for (const [words, names] of namesOf) {
    const mark = marks.find((one) => names.includes(one.dataset.model));
    add("Model", words, mark, names.join(" "));
  }
  for (const node of all("main figure")) {
    add("Figure", plain(node.querySelector("strong")), node, caption(node.querySelector("figcaption")));
  }
  const heads = new Map();
  for (const node of all("main .table")) {
    add("Table", plain(node.querySelector("strong")), node, caption(node.querySelector(".caption")));
    for (const head of all("thead th", node)) {
      const text = plain(head);
      if (!heads.has(text)) heads.set(text, head);
    }
  }
  for (const [text, node] of heads) add("Column", text, node, node.title);
  for (const node of all("#glossary dt")) add("Term", plain(node), node, plain(node.nextElementSibling));
  for (const node of all("main section > p, main section > ul > li, main section > ol > li, main .card")) {
    add("Text", plain(node), node);
  }
  return index;
}

function find(text) {
  const words = text.toLowerCase().split(/\s+/).filter(Boolean);
  const fits = indexed().filter((one) => words.every((word) => one.hay.includes(word)));
  const inTitle = (one) => words.every((word) => one.text.toLowerCase().includes(word));
  return [...fits.filter(inTitle), ...fits.filter((one) => !inTitle(one))].slice(0, MOST);
}

let found = [];
let chosen = -1;
function choose(place) {
  chosen = place;
  Array.from(results.children, (item, at) => item.setAttribute("aria-selected", String(at === place)));
  if (place >= 0) field.setAttribute("aria-activedescendant", results.children[place].id);
  else field.removeAttribute("aria-activedescendant");
}

function list() {
  found = field.value.trim() ? find(field.value) : [];
  results.replaceChildren(...found.map((one, place) => {
    const item = element("li", { id: `result-${place}`, role: "option" },
      element("small", {}, one.kind), ` ${one.text.length > 90 ? `${one.text.slice(0, 90)}…` : one.text}`);
    item.addEventListener("pointerdown", (event) => {
      event.preventDefault();
      leave(place);
    });
    return item;
  }));
  results.hidden = !found.length;
  field.setAttribute("aria-expanded", String(found.length > 0));
  status.textContent = field.value.trim() ? `${found.length} found` : "";
  choose(found.length ? 0 : -1);
}

function shut() {
  results.hidden = true;
  field.setAttribute("aria-expanded", "false");
  choose(-1);
}

function leave(place) {
  const one = found[place];
  if (!one) return;
  shut();
  if (one.kind === "Model") pick(one.text);
  if (narrow.matches) contents.open = false;
  go(one.node);
  emphasise(one.node, field.value);
  field.blur();
}

// The words within what was found, where the browser can mark words without changing the page.
function emphasise(node, text) {
  if (!window.Highlight || !CSS.highlights) return;
  const ranges = [];
  const words = text.toLowerCase().split(/\s+/).filter((word) => word.length > 1);
  const walker = document.createTreeWalker(node, NodeFilter.SHOW_TEXT);
  while (walker.nextNode() && ranges.length < 200) {
    const hay = walker.currentNode.data.toLowerCase();
    for (const word of words) {
      for (let at = hay.indexOf(word); at >= 0; at = hay.indexOf(word, at + word.length)) {
        const range = new Range();
        range.setStart(walker.currentNode, at);
        range.setEnd(walker.currentNode, at + word.length);
        ranges.push(range);
      }
    }
  }
  CSS.highlights.set("found", new Highlight(...ranges));
}

field.addEventListener("input", list);
field.addEventListener("focus", () => field.value && list());
field.addEventListener("blur", shut);
field.addEventListener("keydown", (event) => {
  if (event.key === "ArrowDown" || event.key === "ArrowUp") {
    event.preventDefault();
    if (found.length) choose((chosen + (event.key === "ArrowDown" ? 1 : -1) + found.length) % found.length);
  } else if (event.key === "Enter") {
    leave(Math.max(chosen, 0));
  } else if (event.key === "Escape") {
    event.preventDefault();
    if (!field.value) field.blur();
    field.value = "";
    list();
    CSS.highlights?.delete("found");
  }
});
window.addEventListener("keydown", (event) => {
  const typing = event.target.closest?.("input, textarea, select, [contenteditable]");
  if (event.key !== "/" || typing || event.ctrlKey || event.metaKey || enlarged()) return;
  event.preventDefault();
  field.focus();
});
