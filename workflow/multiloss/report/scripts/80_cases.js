// The test images one by one: filtered by model, class and outcome, with box, outlines and heat.
(function () {
  const holder = document.getElementById("data-cases");
  const viewer = document.getElementById("case-viewer");
  if (!holder || !viewer) return;
  const cases = JSON.parse(holder.textContent);
  const form = viewer.querySelector("form");
  const grid = viewer.querySelector(".cases-grid");
  const more = viewer.querySelector(".more");
  const dialog = viewer.querySelector("dialog");
  const PAGE = 24;
  // Outlines and probabilities come in steps from 0 to this.
  const STEPS = 255;
  const bytes = (text) => Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
  const p = Object.fromEntries(Object.entries(cases.p).map(([name, text]) => [name, bytes(text)]));
  const heat = Object.fromEntries(
    Object.entries(cases.heat).map(([name, one]) => [name, { grid: one.grid, maps: bytes(one.maps) }]),
  );
  let shown = PAGE;

  function add(select, value, text) {
    const option = document.createElement("option");
    option.value = value;
    option.textContent = text;
    select.append(option);
  }
  for (const model of cases.models) add(form.elements.model, model.name, model.label);
  cases.classes.forEach((name, index) => add(form.elements.label, String(index), name));
  const chosen = viewer.dataset.model;
  if (chosen && chosen in p) form.elements.model.value = chosen;
  for (const label of form.querySelectorAll("[data-needs]")) {
    const key = label.dataset.needs;
    const there = key === "heat" ? Object.keys(heat).length : cases.images.some((one) => one[key]);
    label.hidden = !there;
  }

  // What a model says of an image: class, probability, and whether that is right.
  function said(model, index) {
    const all = p[model].subarray(index * cases.classes.length, (index + 1) * cases.classes.length);
    const best = all.indexOf(Math.max(...all));
    return { all, best, share: all[best] / STEPS, right: best === cases.images[index].label };
  }

  function selected() {
    const { model, label, right, order } = form.elements;
    const failed = cases.failed.includes(model.value);
    const found = cases.images
      .map((_, index) => index)
      .filter((index) => !label.value || cases.images[index].label === Number(label.value))
      .filter((index) => !right.value || failed || said(model.value, index).right === (right.value === "yes"));
    if (order.value === "given") return found;
    const sign = order.value === "sure" ? -1 : 1;
    return found.sort((a, b) => sign * (said(model.value, a).share - said(model.value, b).share) || a - b);
  }

  const SVG = "http://www.w3.org/2000/svg";
  function shape(parent, tag, attributes) {
    const made = document.createElementNS(SVG, tag);
    for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
    parent.append(made);
    return made;
  }

  // The image with what the boxes ask for, as one SVG in pixels of the original.
  function picture(index, model) {
    const one = cases.images[index];
    const [width, height] = one.shape;
    const svg = document.createElementNS(SVG, "svg");
    svg.setAttribute("viewBox", `0 0 ${width} ${height}`);
    svg.setAttribute("role", "img");
    svg.setAttribute("aria-label", `test image ${cases.number[index]}`);
    const uri = `data:image/webp;base64,${one.picture}`;
    shape(svg, "image", { href: uri, width, height, preserveAspectRatio: "none" });
    const line = { fill: "none", "stroke-width": Math.max(width, height) / 120 };
    const box = one.box || [0, 0, width, height];
    if (form.elements.heat.checked && heat[model]) {
      const [rows, columns] = heat[model].grid;
      const map = heat[model].maps.subarray(index * rows * columns, (index + 1) * rows * columns);
      map.forEach((value, cell) => {
        const [row, column] = [Math.floor(cell / columns), cell % columns];
        shape(svg, "rect", {
          class: "heat",
          x: box[0] + (column * box[2]) / columns,
          y: box[1] + (row * box[3]) / rows,
          width: box[2] / columns,
          height: box[3] / rows,
          "fill-opacity": ((0.65 * value) / STEPS).toFixed(3),
        });
      });
    }
    for (const key of ["mask", "lesion"]) {
      if (!form.elements[key].checked) continue;
      for (const points of one[key] || []) {
        const scaled = points.map((value, place) => (value / STEPS) * (place % 2 ? height : width));
        shape(svg, "polygon", { ...line, class: key, points: scaled.map((v) => v.toFixed(1)).join(" ") });
      }
    }
    if (form.elements.box.checked && one.box) {
      shape(svg, "rect", { ...line, class: "box", x: box[0], y: box[1], width: box[2], height: box[3] });
    }
    return svg;
  }

  function words(index, model) {
    const one = cases.images[index];
    if (cases.failed.includes(model)) return `${cases.classes[one.label]} (no prediction)`;
    const { best, share, right } = said(model, index);
    const sign = right ? "+" : "\u2212";
    const wrong = right ? "" : `, predicted ${cases.classes[best]}`;
    return `${sign} ${cases.classes[one.label]}${wrong}, p = ${share.toFixed(2)}`;
  }

  function enlarge(index) {
    const model = form.elements.model.value;
    const place = dialog.querySelector(".case-large");
    const table = document.createElement("table");
    const body = table.createTBody();
    if (!cases.failed.includes(model)) {
      said(model, index).all.forEach((value, label) => {
        const row = body.insertRow();
        const head = document.createElement("th");
        head.scope = "row";
        head.textContent = cases.classes[label] + (label === cases.images[index].label ? " (true)" : "");
        row.append(head);
        row.insertCell().textContent = (value / STEPS).toFixed(2);
      });
    }
    const title = document.createElement("p");
    title.textContent = `Test image ${cases.number[index]}: ${words(index, model)}`;
    place.replaceChildren(picture(index, model), title, table);
    if (!dialog.open) dialog.showModal();
    dialog.dataset.index = String(index);
  }

  function show() {
    const model = form.elements.model.value;
    const found = selected();
    const wanted = found.slice(0, shown);
    grid.replaceChildren(
      ...wanted.map((index) => {
        const item = document.createElement("li");
        const button = document.createElement("button");
        button.type = "button";
        const failed = cases.failed.includes(model);
        if (!failed) button.className = said(model, index).right ? "right" : "wrong";
        const text = document.createElement("span");
        text.textContent = words(index, model);
        button.append(picture(index, model), text);
        button.addEventListener("click", () => enlarge(index));
        item.append(button);
        return item;
      }),
    );
    viewer.querySelector(".count").textContent = `${found.length} of ${cases.images.length} images`;
    more.hidden = found.length <= shown;
    if (dialog.open) enlarge(Number(dialog.dataset.index));
  }

  form.addEventListener("change", () => {
    shown = PAGE;
    show();
  });
  form.addEventListener("submit", (event) => event.preventDefault());
  more.addEventListener("click", () => {
    shown += PAGE;
    show();
  });
  dialog.querySelector(".close").addEventListener("click", () => dialog.close());
  dialog.addEventListener("keydown", (event) => {
    const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (!step) return;
    const found = selected();
    const next = found[found.indexOf(Number(dialog.dataset.index)) + step];
    if (next !== undefined) enlarge(next);
  });
  viewer.hidden = false;
  show();
})();
