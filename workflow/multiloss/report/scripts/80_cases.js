// The test images one by one: filtered by model, class and outcome, with box, outlines and heat.
(function () {
  const holder = document.getElementById("data-cases");
  const viewer = document.getElementById("case-viewer");
  if (!holder || !viewer) return;
  const cases = JSON.parse(holder.textContent);
  const part = (selector) => viewer.querySelector(selector);
  const [form, grid, more, dialog] = ["form", ".grid", ".more", "dialog"].map(part);
  const fields = form.elements;
  const PAGE = 24;
  // Outlines and probabilities come in steps from 0 to this.
  const STEPS = 255;
  const bytes = (text) => Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
  const p = Object.fromEntries(Object.entries(cases.p).map(([name, text]) => [name, bytes(text)]));
  // Cells of heat maps come two a byte, in steps from 0 to this.
  const LEVELS = 15;
  const halves = (text) => {
    const pairs = bytes(text);
    return Uint8Array.from({ length: 2 * pairs.length }, (_, place) =>
      place % 2 ? pairs[place >> 1] & LEVELS : pairs[place >> 1] >> 4);
  };
  const heat = {}; // by model, unpacked when it is asked for
  function mapOf(model, index) {
    if (!(model in cases.heat)) return null;
    heat[model] ??= halves(cases.heat[model].maps);
    const [rows, columns] = cases.heat[model].grid;
    const size = rows * columns;
    return { rows, columns, cells: heat[model].subarray(index * size, (index + 1) * size) };
  }
  const failed = new Set(cases.failed);
  let shown = PAGE;
  let order = []; // of the images in the grid; the enlarged one keeps that which it was opened with
  let walk = [];
  let large = null;

  const option = (value, text) => element("option", { value }, text);
  fields.model.append(...cases.models.map((one) => option(one.name, one.label)));
  for (const select of [fields.label, fields.predicted]) {
    select.append(...cases.classes.map((name, index) => option(String(index), name)));
  }
  if (viewer.dataset.model in p) fields.model.value = viewer.dataset.model;

  // What a model says of an image: probabilities of all classes, the largest, and if that is right.
  function said(model, index) {
    if (failed.has(model)) return null;
    const count = cases.classes.length;
    const each = p[model].subarray(index * count, (index + 1) * count);
    const best = each.indexOf(Math.max(...each));
    return { each, best, share: each[best] / STEPS, right: best === cases.images[index].label };
  }

  function selected() {
    const { model, label, predicted, right, order: by } = fields;
    const found = cases.images
      .map((one, index) => ({ index, label: one.label, ...said(model.value, index) }))
      .filter((one) => !label.value || one.label === Number(label.value))
      .filter((one) => !predicted.value || one.best === Number(predicted.value))
      .filter((one) => !right.value || one.right === (right.value === "yes"));
    const sign = { sure: -1, unsure: 1, given: 0 }[by.value];
    if (sign && !failed.has(model.value)) {
      found.sort((a, b) => sign * (a.share - b.share) || a.index - b.index);
    }
    return found.map((one) => one.index);
  }

  function shape(parent, tag, attributes) {
    const made = document.createElementNS(SVG, tag);
    for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
    parent.append(made);
  }

  // The image with what is asked for, as one SVG in pixels of the original.
  function picture(index) {
    const one = cases.images[index];
    const [width, height] = one.shape;
    const svg = document.createElementNS(SVG, "svg");
    svg.setAttribute("viewBox", `0 0 ${width} ${height}`);
    svg.setAttribute("aria-hidden", "true");
    const href = `data:image/webp;base64,${one.picture}`;
    shape(svg, "image", { href, width, height, preserveAspectRatio: "none" });
    const line = Math.max(width, height) / 110;
    const box = one.box || [0, 0, width, height];
    const map = fields.heat?.checked && mapOf(fields.model.value, index);
    if (map) {
      const { rows, columns } = map;
      map.cells.forEach((value, cell) => {
        if (!value) return; // nothing to see
        shape(svg, "rect", {
          class: "heat",
          x: box[0] + ((cell % columns) * box[2]) / columns,
          y: box[1] + (Math.floor(cell / columns) * box[3]) / rows,
          width: box[2] / columns,
          height: box[3] / rows,
          "fill-opacity": ((0.65 * value) / LEVELS).toFixed(3),
        });
      });
    }
    for (const key of ["mask", "lesion"]) {
      if (!fields[key]?.checked) continue;
      for (const points of one[key] || []) {
        const scaled = points.map((value, place) => (value / STEPS) * (place % 2 ? height : width));
        shape(svg, "polygon", {
          class: key, "stroke-width": line, points: scaled.map((v) => v.toFixed(1)).join(" "),
        });
      }
    }
    if (fields.box?.checked && one.box) {
      const [x, y, wide, high] = one.box;
      shape(svg, "rect", { class: "box", "stroke-width": line, x, y, width: wide, height: high });
    }
    return svg;
  }

  const outcome = (it) => (it ? (it.right ? "right" : "wrong") : "");
  const sign = (it) =>
    it
      ? [element("span", { "aria-hidden": "true" }, it.right ? "+\u00a0" : "\u2212\u00a0"),
        element("span", { className: "unseen" }, it.right ? "correct, " : "incorrect, ")]
      : [];
  function words(index) {
    const truth = cases.classes[cases.images[index].label];
    const it = said(fields.model.value, index);
    if (!it) return [`${truth} (no prediction)`];
    const wrong = it.right ? "" : `, predicted ${cases.classes[it.best]}`;
    return [...sign(it), `${truth}${wrong}, p\u00a0=\u00a0${it.share.toFixed(2)}`];
  }

  function table(head, rows) {
    const made = element("table", {}, element("thead", {}, element("tr", {},
      ...head.map((text) => element("th", { scope: "col" }, text)))));
    const body = made.createTBody();
    for (const [first, ...others] of rows) {
      body.append(element("tr", {}, element("th", { scope: "row" }, first),
        ...others.map((one) => element("td", {}, ...one))));
    }
    return made;
  }

  function enlarge(index) {
    large = index;
    const truth = cases.images[index].label;
    part("#case-title").replaceChildren(`Test image ${cases.number[index]}: `, ...words(index));
    const it = said(fields.model.value, index);
    const classes = it && table(["Class", "Probability"],
      cases.classes.map((name, label) =>
        [label === truth ? `${name} (true)` : name, [(it.each[label] / STEPS).toFixed(2)]]));
    const models = table(["Model", "Predicted", "p"], cases.models.map((one) => {
      const other = said(one.name, index);
      return [one.label, ...(other
        ? [[...sign(other), cases.classes[other.best]], [other.share.toFixed(2)]]
        : [["no prediction"], [""]])];
    }));
    const sound = cases.models.map((one) => said(one.name, index)).filter(Boolean);
    const fold = element("details", { open: Boolean(part(".saying details[open]")) },
      element("summary", {},
        `Correct: ${sound.filter((one) => one.right).length} of ${sound.length} models`), models);
    part(".large").replaceChildren(picture(index));
    part(".large").className = `large ${outcome(it)}`;
    part(".saying").replaceChildren(...[classes, fold].filter(Boolean));
    const place = walk.indexOf(index);
    part(".previous").disabled = place < 1;
    part(".next").disabled = place < 0 || place >= walk.length - 1;
  }

  function open(index) {
    walk = order;
    part(".asking").append(part(".asked")); // moved, so that there is one of each field
    enlarge(index);
    dialog.showModal();
    part(".close").focus();
  }
  function step(by) {
    const next = walk[walk.indexOf(large) + by];
    if (next !== undefined) enlarge(next);
  }
  dialog.addEventListener("close", () => {
    form.prepend(part(".asked"));
    const place = order.indexOf(large);
    while (place >= shown) shown += PAGE;
    draw();
    const home = grid.children[place]?.firstChild || fields.model;
    home.focus();
    large = null;
  });

  function draw() {
    const model = fields.model.value;
    if (fields.heat) {
      fields.heat.disabled = !(model in cases.heat);
      fields.heat.closest("label").title = model in cases.heat ? "" : "This model has no heat maps";
    }
    order = selected();
    const buttons = order.slice(0, shown).map((index) => {
      const it = said(model, index);
      const text = element("span", {}, ...words(index));
      const one = button("", () => open(index), { className: outcome(it) });
      one.append(picture(index), element("span", { className: "unseen" }, `Test image ${cases.number[index]}: `), text);
      return one;
    });
    if (buttons.length) roving(buttons);
    grid.replaceChildren(...buttons.map((one) => element("li", {}, one)));
    part(".count").textContent = `${order.length} of ${cases.images.length} images`;
    more.hidden = order.length <= shown;
    if (dialog.open) enlarge(large);
  }

  viewer.addEventListener("change", () => {
    shown = PAGE;
    draw();
  });
  form.addEventListener("submit", (event) => event.preventDefault());
  more.addEventListener("click", () => {
    const first = shown;
    shown += PAGE;
    draw();
    grid.children[first].firstChild.focus();
  });
  part(".close").addEventListener("click", () => dialog.close());
  part(".previous").addEventListener("click", () => step(-1));
  part(".next").addEventListener("click", () => step(1));
  dialog.addEventListener("click", (event) => event.target === dialog && dialog.close());
  dialog.addEventListener("keydown", (event) => {
    if (event.target.closest("select")) return; // there arrows choose
    if (event.key === "ArrowLeft") step(-1);
    if (event.key === "ArrowRight") step(1);
  });
  // The model that is highlighted in the page is the one shown here.
  followers.push((names) => {
    const name = cases.models.map((one) => one.name).find((one) => names.has(one));
    if (!name || name === fields.model.value) return;
    fields.model.value = name;
    shown = PAGE;
    draw();
  });
  viewer.hidden = false;
  draw();
})();
