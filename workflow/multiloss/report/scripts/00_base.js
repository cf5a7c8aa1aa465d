// What the other scripts share.
const root = document.documentElement;
const all = (selector, within = document) => Array.from(within.querySelectorAll(selector));

function element(tag, properties = {}, ...children) {
  const made = document.createElement(tag);
  for (const [key, value] of Object.entries(properties)) {
    if (key in made && key !== "list") made[key] = value;
    else made.setAttribute(key, value);
  }
  made.append(...children);
  return made;
}

function button(text, act, properties = {}) {
  const made = element("button", { type: "button", ...properties }, text);
  made.addEventListener("click", () => act(made));
  return made;
}

// One tab stop for many buttons: arrow keys, Home and End go from one to the next.
function roving(buttons) {
  const usable = () => buttons.filter((one) => !one.hidden);
  const stop = (chosen) => buttons.forEach((one) => (one.tabIndex = one === chosen ? 0 : -1));
  stop(buttons[0]);
  for (const one of buttons) {
    one.addEventListener("focus", () => stop(one));
    one.addEventListener("keydown", (event) => {
      const list = usable();
      const place = list.indexOf(one);
      const next = {
        ArrowRight: list[place + 1],
        ArrowLeft: list[place - 1],
        Home: list[0],
        End: list[list.length - 1],
      }[event.key];
      if (!next) return;
      event.preventDefault();
      next.focus();
    });
  }
}

function toolbar(label, buttons) {
  if (buttons.length > 1) roving(buttons);
  return element("div", { className: "toolbar", role: "toolbar", "aria-label": label }, ...buttons);
}

const status = element("p", { className: "unseen", role: "status" });
document.querySelector("footer").append(status);

// Tells what a button did: on the button for a moment, and to screen readers.
function told(one, text) {
  status.textContent = text;
  const before = one.dataset.label || one.textContent;
  one.dataset.label = before;
  one.textContent = text;
  setTimeout(() => (one.textContent = before), 1500);
}

function save(name, content, type) {
  const blob = content instanceof Blob ? content : new Blob([content], { type });
  const link = element("a", { href: URL.createObjectURL(blob), download: name });
  document.body.append(link);
  link.click();
  link.remove();
  setTimeout(() => URL.revokeObjectURL(link.href), 60000);
}

// Text from the study (classes, labels, patients) that a spreadsheet program would run as a
// formula gets an apostrophe in front, as OWASP advises; numbers and lists of them stay.
const formula = /^[=+\-@\t\r\n\uff0b\uff0d\uff1d\uff20]/;
const digits = "[+-]?(?:\\d+\\.?\\d*|\\.\\d+)(?:e[+-]?\\d+)?";
const numbers = new RegExp(`^(?:${digits}(?:(?:;|, | to )${digits})*|-inf)$`, "i");
const guarded = (text) => (formula.test(text) && !numbers.test(text) ? `'${text}` : text);

// Every CSV file that the page saves, from its text or bytes.
function saveTable(name, content) {
  const text = typeof content === "string" ? content : new TextDecoder().decode(content);
  const cells = /(?:"((?:[^"]|"")*)"|([^",\r\n]*))(,|\r?\n|$)/g;
  const harmless = text.replace(cells, (_, inside, bare, end) =>
    (inside === undefined ? guarded(bare) : `"${guarded(inside)}"`) + end);
  save(name, harmless, "text/csv");
}

async function copy(text, one) {
  try {
    await navigator.clipboard.writeText(text);
  } catch {
    const area = element("textarea", { value: text });
    document.body.append(area);
    area.select();
    document.execCommand("copy");
    area.remove();
    one.focus();
  }
  told(one, "Copied");
}

const enlarged = () => document.querySelector("dialog[open]");

// Files that the page carries, by their names in the study's folder.
const carried = new Map(all("script[data-file]").map((one) => [one.dataset.file, one]));

async function unpacked(name) {
  const bytes = Uint8Array.from(atob(carried.get(name).textContent), (c) => c.charCodeAt(0));
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate"));
  return new Uint8Array(await new Response(stream).arrayBuffer());
}

const shortName = (path) => path.split("/").pop();
const plain = (node) => node.textContent.replace(/\s+/g, " ").trim();

// The words of a caption without its anchor, its file and its fold.
function caption(node) {
  const found = node.cloneNode(true);
  for (const one of found.querySelectorAll(".anchor, .file, .how, .toolbar")) one.remove();
  return plain(found);
}

// Opens what hides the node: folds, and of a table what `equip` keeps here.
const opened = new WeakMap(); // table -> shows all rows, or all columns
function uncover(node) {
  if (node.matches(".beyond *, .unfit *")) opened.get(node.closest("table")).rows();
  if (node.matches(".more, .more *")) opened.get(node.closest("table")).columns();
  for (let one = node; one; one = one.parentElement) {
    if (one.tagName === "DETAILS") one.open = true;
  }
}

// ---- the address: #place&model=name ----
function address() {
  const [place, ...rest] = decodeURIComponent(location.hash.slice(1)).split("&");
  const models = rest.concat(place.startsWith("model=") ? place : []);
  const model = models.find((one) => one.startsWith("model="));
  return { place: place.startsWith("model=") ? "" : place, model: model ? model.slice(6) : "" };
}

function go(node) {
  uncover(node);
  node.scrollIntoView({ block: node.tagName === "SECTION" ? "start" : "nearest" });
  node.classList.remove("flash");
  void node.offsetWidth; // begins the animation again
  node.classList.add("flash");
}
