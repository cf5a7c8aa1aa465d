// The same words in several formats: a tab for each, to copy or to save.
//   <div class="copies" data-name="methods">
//     <pre data-copy="Text" data-file="methods.txt">…</pre> <pre data-copy="LaTeX" data-file="…">…
for (const [group, box] of all(".copies").entries()) {
  const parts = all(":scope > [data-copy]", box);
  const tabs = parts.map((part, place) => {
    part.id ||= `copy-${group}-${place}`;
    part.setAttribute("role", "tabpanel");
    part.tabIndex = 0;
    const tab = button(part.dataset.copy, () => show(place), {
      role: "tab", id: `${part.id}-tab`, "aria-controls": part.id,
    });
    part.setAttribute("aria-labelledby", tab.id);
    return tab;
  });
  function show(chosen) {
    parts.forEach((part, place) => {
      part.hidden = place !== chosen;
      tabs[place].setAttribute("aria-selected", String(place === chosen));
    });
  }
  const shown = () => parts.find((part) => !part.hidden);
  const text = (part) => (part.tagName === "PRE" ? part.textContent : part.innerText);
  roving(tabs);
  const act = toolbar("Copy or save", [
    button("Copy", (one) => copy(text(shown()), one)),
    button("Save", () => {
      const part = shown();
      save(part.dataset.file || `${box.dataset.name || "text"}.txt`, text(part), "text/plain");
    }),
  ]);
  box.prepend(element("div", { role: "tablist", "aria-label": "Formats", className: "tabs" }, ...tabs));
  box.append(act);
  show(0);
}
