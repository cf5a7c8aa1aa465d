// The frame: contents with the current section, way back to the top, colours, print.
const contents = document.querySelector("nav details");
const narrow = window.matchMedia("(max-width: 60rem)");
// On a phone the table of contents would push the answer off the first screen.
if (narrow.matches) contents.open = false;

// Headings within sections, and their tables and figures, below each section of the contents.
function entries(section) {
  return all("h3, .table, figure", section)
    .filter((node) => !node.closest(".gallery") && (node.tagName !== "H3" || !node.closest("figure")))
    .map((node, place) => {
      if (!node.id) node.id = `${section.id}-${place}`;
      const title = node.tagName === "H3" ? node : node.querySelector("strong");
      return { node, text: plain(title).replace(/\.$/, "") };
    });
}

const sections = all(".level > section");
const links = new Map();
for (const section of sections) {
  const link = document.querySelector(`nav a[href="#${CSS.escape(section.id)}"]`);
  links.set(section, link);
  const below = entries(section);
  if (!below.length) continue;
  const items = below.map(({ node, text }) =>
    element("li", {}, element("a", { href: `#${node.id}` }, text)),
  );
  link.after(element("ul", { className: "below" }, ...items));
}

function current() {
  const line = window.innerHeight / 3;
  let found = sections[0];
  for (const section of sections) {
    if (section.getBoundingClientRect().top <= line) found = section;
  }
  for (const [section, link] of links) {
    if (section !== found) link.removeAttribute("aria-current");
    else if (!link.hasAttribute("aria-current")) {
      link.setAttribute("aria-current", "true");
      if (!narrow.matches) link.scrollIntoView({ block: "nearest" });
    }
  }
  top.hidden = window.scrollY < window.innerHeight;
}

const top = element("a", { className: "to-top", href: "#", title: "Back to the top" }, "↑ Top");
document.querySelector("footer").append(top);
let waiting = false;
window.addEventListener("scroll", () => {
  if (waiting) return;
  waiting = true;
  requestAnimationFrame(() => {
    waiting = false;
    current();
  });
}, { passive: true });

// A link into a fold opens it.
function arrive() {
  const { place } = address();
  const target = place && document.getElementById(place);
  if (!target) return;
  uncover(target);
  target.scrollIntoView();
}
window.addEventListener("hashchange", arrive);

const tools = document.querySelector(".tools");
const dark = window.matchMedia("(prefers-color-scheme: dark)");
const isDark = () => (root.dataset.theme || (dark.matches ? "dark" : "light")) === "dark";
const themes = button("", () => {
  root.dataset.theme = isDark() ? "light" : "dark";
  try {
    localStorage.setItem("multiloss-theme", root.dataset.theme);
  } catch {
    // Then it is asked for again.
  }
  named();
});
function named() {
  themes.textContent = isDark() ? "Light" : "Dark";
}
named();
dark.addEventListener("change", named);

const everything = element("input", { type: "checkbox", checked: root.classList.contains("print-all") });
everything.addEventListener("change", () => root.classList.toggle("print-all", everything.checked));
const printing = element("label", { className: "choice" }, everything, " Print all");

// On paper all folds are open where all is printed.
let closed = [];
window.addEventListener("beforeprint", () => {
  if (!root.classList.contains("print-all")) return;
  closed = all("main details:not([open])");
  for (const details of closed) details.open = true;
});
window.addEventListener("afterprint", () => {
  for (const details of closed) details.open = false;
  closed = [];
});
