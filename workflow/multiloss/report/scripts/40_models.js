// Pick a model once: it is marked in all tables and figures. The address keeps it.
const marks = all("main [data-model]");
const wordsOf = new Map(); // name -> words
for (const mark of marks) {
  if (mark.namespaceURI !== SVG) wordsOf.set(mark.dataset.model, plain(mark));
}
for (const mark of marks) {
  if (!wordsOf.has(mark.dataset.model)) wordsOf.set(mark.dataset.model, mark.dataset.model);
}
// One entry for all names with the same words: a loss, and its run where there is one only.
const namesOf = new Map();
for (const [name, words] of wordsOf) namesOf.set(words, [...(namesOf.get(words) || []), name]);

const choice = element("select", { id: "pick", "aria-label": "Highlight a model" },
  element("option", { value: "" }, "Highlight a model…"),
  ...Array.from(namesOf.keys()).sort(collator.compare).map((words) => element("option", { value: words }, words)));

const followers = []; // told the names that are picked
function pick(words) {
  const names = new Set(namesOf.get(words) || []);
  for (const row of all("tr.picked")) row.classList.remove("picked");
  for (const svg of all("svg.picking")) svg.classList.remove("picking");
  for (const mark of marks) {
    const picked = names.has(mark.dataset.model);
    mark.classList.toggle("picked", picked);
    if (!picked) continue;
    mark.closest("tr")?.classList.add("picked");
    mark.closest("svg")?.classList.add("picking");
  }
  choice.value = names.size ? words : "";
  for (const follow of followers) follow(names);
  const { place } = address();
  const [first] = names;
  const hash = [place, first && `model=${encodeURIComponent(first)}`].filter(Boolean).join("&");
  if (hash !== location.hash.slice(1)) {
    history.replaceState(null, "", hash ? `#${hash}` : `${location.pathname}${location.search}`);
  }
}

choice.addEventListener("change", () => pick(choice.value));
document.querySelector("main").addEventListener("click", (event) => {
  const mark = event.target.closest(".model[data-model]");
  if (mark) pick(choice.value === wordsOf.get(mark.dataset.model) ? "" : wordsOf.get(mark.dataset.model));
});
window.addEventListener("keydown", (event) => {
  if (event.key === "Escape" && choice.value && !enlarged() && !event.defaultPrevented) pick("");
});
// A link within the page keeps the model.
window.addEventListener("hashchange", () => {
  const { model } = address();
  pick(model ? wordsOf.get(model) : choice.value);
});
