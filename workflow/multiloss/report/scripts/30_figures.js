// Figures: enlarge, and save as SVG, PDF, PNG and CSV. What the page does not carry is made from
// the drawing that it shows.
const SVG = "http://www.w3.org/2000/svg";
const DPI = 300;
const READABLE = 900; // pixels across of a figure of two columns

const millimetres = (figure) => {
  const style = figure.querySelector(".picture").style;
  return ["--width", "--height"].map((side) => Number(style.getPropertyValue(side)));
};

async function asPng(uri) {
  const image = new Image();
  image.src = uri;
  await image.decode();
  const canvas = element("canvas", { width: image.naturalWidth, height: image.naturalHeight });
  canvas.getContext("2d").drawImage(image, 0, 0);
  return canvas.toDataURL("image/png");
}

// The drawing as a file of its own: its size on paper, and images as other programs read them.
async function drawing(figure, units = "mm") {
  const [width, height] = millimetres(figure);
  const svg = figure.querySelector("svg").cloneNode(true);
  for (const one of [svg, ...svg.querySelectorAll("[class]")]) one.removeAttribute("class");
  svg.setAttribute("xmlns", SVG);
  svg.setAttribute("width", `${width}${units}`);
  svg.setAttribute("height", `${height}${units}`);
  svg.setAttribute("style", "stroke-linejoin:round;stroke-linecap:butt");
  for (const image of svg.querySelectorAll("image")) {
    const uri = image.getAttribute("xlink:href");
    if (uri.startsWith("data:image/webp")) image.setAttribute("xlink:href", await asPng(uri));
  }
  return new XMLSerializer().serializeToString(svg);
}

async function pixels(figure) {
  const [width, height] = millimetres(figure).map((mm) => Math.round((mm / 25.4) * DPI));
  const image = new Image();
  image.src = `data:image/svg+xml;charset=utf-8,${encodeURIComponent(await drawing(figure))}`;
  await image.decode();
  const canvas = element("canvas", { width, height });
  const context = canvas.getContext("2d", { alpha: false });
  context.fillStyle = "#fff";
  context.fillRect(0, 0, width, height);
  context.drawImage(image, 0, 0, width, height);
  return canvas;
}

const big = (number) => [24, 16, 8, 0].map((shift) => (number >>> shift) & 255);
const ascii = (text) => Array.from(text, (letter) => letter.charCodeAt(0));

function crc(bytes) {
  let sum = ~0;
  for (const byte of bytes) {
    sum ^= byte;
    for (let bit = 0; bit < 8; bit += 1) sum = (sum >>> 1) ^ (sum & 1 ? 0xedb88320 : 0);
  }
  return ~sum >>> 0;
}

// A PNG says its resolution in a chunk `pHYs`, in pixels per metre, behind its first chunk.
async function png(figure) {
  const canvas = await pixels(figure);
  const blob = await new Promise((done) => canvas.toBlob(done, "image/png"));
  const density = big(Math.round(DPI / 0.0254));
  const chunk = [...ascii("pHYs"), ...density, ...density, 1];
  const size = Uint8Array.from([...big(9), ...chunk, ...big(crc(chunk))]);
  return new Blob([blob.slice(0, 33), size, blob.slice(33)], { type: "image/png" });
}

// One page with the picture on it, pixel by pixel without loss.
async function pdf(figure) {
  const canvas = await pixels(figure);
  const { width, height } = canvas;
  const rgba = canvas.getContext("2d").getImageData(0, 0, width, height).data;
  const rgb = new Uint8Array(width * height * 3);
  for (let from = 0, to = 0; from < rgba.length; from += 4) {
    rgb[to++] = rgba[from];
    rgb[to++] = rgba[from + 1];
    rgb[to++] = rgba[from + 2];
  }
  const packed = new Blob([rgb]).stream().pipeThrough(new CompressionStream("deflate"));
  const image = new Uint8Array(await new Response(packed).arrayBuffer());
  const [wide, high] = millimetres(figure).map((mm) => ((mm / 25.4) * 72).toFixed(3));
  const content = `${wide} 0 0 ${high} 0 0 cm /I Do`;
  const parts = [
    ["<</Type/Catalog/Pages 2 0 R>>"],
    ["<</Type/Pages/Kids[3 0 R]/Count 1>>"],
    [`<</Type/Page/Parent 2 0 R/MediaBox[0 0 ${wide} ${high}]/Contents 4 0 R/Resources<</XObject<</I 5 0 R>>>>>>`],
    [`<</Length ${content.length}>>stream\n${content}\nendstream`],
    [
      `<</Type/XObject/Subtype/Image/Width ${width}/Height ${height}/ColorSpace/DeviceRGB` +
        `/BitsPerComponent 8/Filter/FlateDecode/Length ${image.length}>>stream\n`,
      image,
      "\nendstream",
    ],
  ];
  const pieces = ["%PDF-1.4\n"];
  const starts = [];
  let length = pieces[0].length;
  parts.forEach((part, place) => {
    starts.push(length);
    for (const piece of [`${place + 1} 0 obj\n`, ...part, "\nendobj\n"]) {
      pieces.push(piece);
      length += piece.length;
    }
  });
  const table = starts.map((start) => `${String(start).padStart(10, "0")} 00000 n \n`).join("");
  pieces.push(
    `xref\n0 ${parts.length + 1}\n0000000000 65535 f \n${table}` +
      `trailer<</Size ${parts.length + 1}/Root 1 0 R>>\nstartxref\n${length}\n%%EOF\n`,
  );
  return new Blob(pieces, { type: "application/pdf" });
}

// ---- the picture alone, as large as the window, or larger ----
const lightbox = element("dialog", { className: "lightbox", "aria-label": "Enlarged figure" });
const stage = element("div", { className: "stage", tabIndex: 0 });
const under = element("p", { className: "under" });
let size = 1;
const scaled = (factor) => {
  size = factor ? Math.min(8, Math.max(1, size * factor)) : 1;
  stage.style.setProperty("--scale", size);
};
lightbox.append(
  element("div", { className: "toolbar" },
    button("Close", () => lightbox.close(), { title: "Escape" }),
    button("Larger", () => scaled(1.5)), button("Smaller", () => scaled(1 / 1.5)), button("Fit", () => scaled())),
  stage, under,
);
document.body.append(lightbox);
let home = null;
function enlarge(figure) {
  const svg = figure.querySelector("svg");
  home = svg.parentElement;
  home.style.minHeight = `${home.offsetHeight}px`;
  const [width, height] = millimetres(figure);
  stage.style.setProperty("--ratio", width / height);
  stage.append(svg); // moved, not copied: its ids stay unique
  under.textContent = caption(figure.querySelector("figcaption"));
  scaled();
  lightbox.showModal();
  // On a phone it opens as large as its letters need, and scrolls.
  if (narrow.matches) scaled(READABLE / svg.getBoundingClientRect().width);
}
function putBack() {
  const svg = stage.querySelector("svg");
  if (!svg) return;
  home.prepend(svg);
  home.style.minHeight = "";
}
lightbox.addEventListener("close", putBack);
window.addEventListener("beforeprint", () => {
  if (!lightbox.open) return;
  lightbox.close();
  putBack();
});
lightbox.addEventListener("click", (event) => event.target === lightbox && lightbox.close());

for (const figure of all("main figure[data-file]")) {
  const stem = figure.dataset.file.replace(/\.[^.]*$/, "");
  const name = shortName(stem);
  const number = plain(figure.querySelector("figcaption strong")).split(".")[0];
  const picture = figure.querySelector(".picture");
  picture.append(button("⤢", () => enlarge(figure), {
    className: "enlarge", title: "Enlarge", "aria-label": `Enlarge ${number.toLowerCase()}`,
  }));
  picture.addEventListener("click", (event) => {
    if (event.target.closest("svg")) picture.querySelector(".enlarge").click();
  });
  const whole = carried.has(`${stem}.pdf`);
  const buttons = [
    button("SVG", async () => save(`${name}.svg`, await drawing(figure), "image/svg+xml"),
      { title: "As a drawing, with letters as text" }),
    button("PDF", async () =>
      save(`${name}.pdf`, whole ? await unpacked(`${stem}.pdf`) : await pdf(figure), "application/pdf"),
      { title: whole ? "As a drawing" : `As a picture of ${DPI} dpi; the drawing is ${stem}.pdf in the study's folder` }),
    button(`PNG ${DPI} dpi`, async () => save(`${name}.png`, await png(figure)),
      { title: "Letters in the fonts of this computer" }),
  ];
  if (carried.has(`${stem}.csv`)) {
    buttons.push(button("CSV", async () => saveTable(`${name}.csv`, await unpacked(`${stem}.csv`)),
      { title: "The numbers drawn" }));
  } else {
    buttons.push(button("CSV", () => {}, {
      disabled: true, title: `Not in this page: ${stem}.csv is in the study's folder`,
    }));
  }
  buttons.push(button("Copy caption", (one) => copy(caption(figure.querySelector("figcaption")), one)));
  figure.append(toolbar(number, buttons));
}
