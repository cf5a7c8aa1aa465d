// A term leads to the glossary; with a script its words come to the reader instead.
const bubble = element("div", { className: "bubble", role: "tooltip", id: "bubble", hidden: true });
document.body.append(bubble);
let asked = null;
function hush() {
  if (asked) asked.removeAttribute("aria-describedby");
  asked = null;
  bubble.hidden = true;
}
function explain(term) {
  const entry = document.getElementById(term.hash.slice(1));
  if (!entry) return;
  hush();
  bubble.replaceChildren(element("strong", {}, plain(entry)), ` ${plain(entry.nextElementSibling)}`);
  bubble.hidden = false;
  const box = term.getBoundingClientRect();
  const left = Math.max(8, Math.min(box.left, root.clientWidth - bubble.offsetWidth - 8));
  const below = box.bottom + 6 + bubble.offsetHeight < window.innerHeight;
  const y = below ? box.bottom + 6 : box.top - bubble.offsetHeight - 6;
  bubble.style.left = `${left + window.scrollX}px`;
  bubble.style.top = `${y + window.scrollY}px`;
  term.setAttribute("aria-describedby", "bubble");
  asked = term;
}
for (const term of all("a.term")) {
  term.addEventListener("click", (event) => {
    event.preventDefault();
    if (asked === term) hush();
    else explain(term);
  });
  term.addEventListener("blur", hush);
}
window.addEventListener("keydown", (event) => {
  if (event.key !== "Escape" || !asked) return;
  event.preventDefault();
  hush();
});
window.addEventListener("pointerdown", (event) => {
  if (asked && !event.target.closest("a.term, .bubble")) hush();
});
