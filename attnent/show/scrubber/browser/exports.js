// Out of the Scrubber: pictures in light colours whatever the page's theme, and tables, made without the network.

import { h, s } from "./elements.js";

const KEPT = ["fill", "stroke", "stroke-width", "stroke-dasharray", "opacity", "font-size", "font-family", "fill-opacity"];

export function download(content, name, type) {
  const address = URL.createObjectURL(new Blob([content], { type }));
  h("a", { href: address, download: name }).click();
  setTimeout(() => URL.revokeObjectURL(address), 60_000);
}

/** A picture as it is in a light theme, with its colours in it and white behind it; `beside` is where styles hold. */
export function lightPicture(svg, beside) {
  const host = h("div", { class: "attnent", style: "color-scheme: light; position: absolute; visibility: hidden" });
  const picture = svg.cloneNode(true);
  host.append(picture);
  beside.after(host);
  const { width, height } = svg.getBoundingClientRect();
  for (const node of [picture, ...picture.querySelectorAll("*")]) {
    const style = getComputedStyle(node);
    if (style.display === "none") node.remove();
    for (const name of KEPT) node.style.setProperty(name, style.getPropertyValue(name));
    node.removeAttribute("class");
  }
  picture.prepend(s("rect", { width: "100%", height: "100%", fill: "#ffffff" }));
  host.remove();
  for (const [name, value] of Object.entries({ width, height, xmlns: "http://www.w3.org/2000/svg" }))
    picture.setAttribute(name, value);
  return picture;
}

export const asText = (picture) => new XMLSerializer().serializeToString(picture);

/** The picture as a PNG, twice as fine as on the page. */
export async function asPng(picture) {
  const [width, height] = ["width", "height"].map((name) => 2 * Number(picture.getAttribute(name)));
  const image = new Image(), canvas = h("canvas", { width, height });
  image.src = `data:image/svg+xml;charset=utf-8,${encodeURIComponent(asText(picture))}`;
  await image.decode();
  canvas.getContext("2d").drawImage(image, 0, 0, width, height);
  return new Promise((resolve) => canvas.toBlob(resolve, "image/png"));
}

const cell = (value) => (/[",\r\n]/.test(value) ? `"${value.replaceAll('"', '""')}"` : value);
const plain = (value) => (typeof value === "number" ? (Number.isFinite(value) ? String(value) : "") : cell(String(value)));

/** Columns by name as text, a row a line; what is missing is empty. */
export function asCsv(columns) {
  const names = Object.keys(columns), n = columns[names[0]].length;
  const rows = Array.from({ length: n }, (_, row) => names.map((name) => plain(columns[name][row])).join(","));
  return [names.map(cell).join(","), ...rows, ""].join("\r\n");
}
