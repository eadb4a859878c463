// Draws the figures of a page in the reader's theme and to the page's width, and saves them. Runs after plotly.js.
const dark = matchMedia("(prefers-color-scheme: dark)");
const narrow = matchMedia("(max-width: 40rem)");
const CLEAR = "rgba(0,0,0,0)"; // the page shines through
const SAVED_WIDTH = 1000; // pixels of a saved picture, whatever the page's width
const LIGHT = { ink: "#222", paper: CLEAR, isDark: false };
const DARK = { ink: "#ddd", paper: CLEAR, isDark: true };
const AROUND_DARK = [[0, "#93cbf7"], [0.25, "#3a7cb0"], [0.5, "#26292c"], [0.75, "#b0523a"], [1, "#ffa585"]];

const namesOf = (layout, letter) => Object.keys(layout).filter((name) => name.match(`^${letter}axis\\d*$`));
const axisOf = (layout, id) => layout[`${id[0]}axis${id.slice(1)}`];
const figureOf = (source) => JSON.parse(source.textContent);

function inTheme({ data, layout }, { ink, paper, isDark }) {
  const base = ((layout.template ??= {}).layout ??= {});
  Object.assign(base, { paper_bgcolor: paper, plot_bgcolor: CLEAR, font: { ...base.font, color: ink } });
  for (const axis of ["xaxis", "yaxis"]) {
    base[axis] = { ...base[axis], gridcolor: "rgba(128,128,128,0.2)", linecolor: "#888", zerolinecolor: "#888" };
  }
  const around = [layout.coloraxis, ...data].filter((scale) => scale?.cmid !== undefined || scale?.zmid !== undefined);
  if (isDark) around.forEach((scale) => (scale.colorscale = AROUND_DARK)); // the middle is pale on white, dark on dark
  return { data, layout };
}

// ---- on a phone: panels under each other, words in lines, legends and colour bars below

function inLines(text, width) {
  if (!text || /<(?!br>)/.test(text)) return text ?? "";
  const lines = [""];
  const whole = text.replace(/\([^()]{1,20}\)/g, (short) => short.replaceAll(" ", "\u00a0"));
  for (const word of whole.replaceAll("<br>", " <br> ").split(" ")) {
    if (word === "<br>" || (lines.at(-1) && lines.at(-1).length + word.length >= width)) lines.push("");
    if (word !== "<br>") lines[lines.length - 1] += (lines.at(-1) && " ") + word;
  }
  return lines.join("<br>");
}

const atTheBottom = { yref: "container", y: 0, yanchor: "bottom" };
const nLines = (text) => text.split("<br>").length;
const isOnPaper = (note) => note.xref === "paper" && note.yref === "paper";

/** Panels that stand side by side come to stand under each other; gives back the pixels that all of them take. */
function stacked(layout, inside) {
  const panels = namesOf(layout, "x").map((name) => [layout[name], axisOf(layout, layout[name].anchor ?? "y")]);
  if (!panels.some(([x]) => x.domain?.[0] > 0.01)) return inside;
  panels.sort(([ax, ay], [bx, by]) => by.domain[1] - ay.domain[1] || ax.domain[0] - bx.domain[0]);
  const titles = (layout.annotations ?? []).filter((note) => isOnPaper(note) && note.y > 0);
  const gap = 70 + 15 * Math.max(0, ...titles.map((note) => nLines(note.text)));
  const heights = panels.map(([, y]) => inside * (y.domain[1] - y.domain[0]));
  const all = heights.reduce((sum, height) => sum + height + gap, -gap);
  let top = 1;
  const moved = panels.map(([x, y], k) => {
    const title = titles.find((note) => note.y === y.domain[1] && note.x > x.domain[0] && note.x < x.domain[1]);
    const domain = [Math.max(0, top - heights[k] / all), top];
    top = domain[0] - gap / all;
    return () => {
      if (title) Object.assign(title, { x: 0.5, y: domain[1] });
      Object.assign(y, { domain, showticklabels: true });
      x.domain = [0, 1];
    };
  });
  moved.forEach((move) => move());
  return all;
}

function withShortLabels({ data, layout }, inside) {
  let stretch = 1;
  for (const name of namesOf(layout, "y")) {
    const [axis, id] = [layout[name], name.replace("axis", "")];
    const own = data.filter((trace) => (trace.yaxis ?? "y") === id).flatMap((trace) => trace.y ?? []);
    if (!axis.ticktext && typeof own[0] !== "string") continue;
    axis.tickvals ??= [...new Set(own)];
    axis.ticktext = (axis.ticktext ?? axis.tickvals).map((text) => inLines(String(text), 17));
    axis.tickfont = { ...axis.tickfont, size: 11 };
    const [low, high] = axis.domain ?? [0, 1];
    const needed = axis.ticktext.reduce((sum, text) => sum + 14 * nLines(text) + 8, 0);
    stretch = Math.max(stretch, needed / inside / (high - low));
  }
  return inside * stretch;
}

function narrowed({ data, layout }, width) {
  const base = layout.template?.layout ?? {};
  const margin = { l: 70, r: 30, t: 80, b: 60, ...base.margin, ...layout.margin };
  const title = layout.title?.text ?? "";
  let inside = (layout.height ?? 450) - margin.t - margin.b;
  if (layout.title) layout.title.text = inLines(title, width / 8);
  let more = 0; // lines above the panels
  for (const note of (layout.annotations ?? []).filter(isOnPaper)) {
    const before = nLines(note.text);
    note.text = inLines(note.text, width / 9);
    if (note.y > 0) more = Math.max(more, nLines(note.text) - before);
  }
  inside = withShortLabels({ data, layout }, stacked(layout, inside));
  let below = 52;
  for (const name of namesOf(layout, "x")) {
    const axis = layout[name];
    const text = axis.title?.text;
    if (text) Object.assign(axis.title, { text: inLines(text, width / 11), font: { size: 12 } });
    below = Math.max(below, 40 + 17 * nLines(axis.title?.text ?? ""));
    if (axis.type !== "category") Object.assign(axis, { dtick: undefined, nticks: 6 });
    const every = Math.ceil((axis.tickvals?.length ?? 0) / (width / 18));
    const thinned = (labels) => labels?.filter((_, k) => k % every === 0);
    if (every > 1) Object.assign(axis, { tickvals: thinned(axis.tickvals), ticktext: thinned(axis.ticktext) });
    if (axis.tickangle) below += 30;
  }
  for (const note of layout.annotations ?? []) if (isOnPaper(note) && note.y === 0) below += 16 * nLines(note.text);
  for (const bar of [layout.coloraxis?.colorbar, ...data.map((trace) => trace.colorbar)].filter(Boolean)) {
    Object.assign(bar, { orientation: "h", thickness: 12, len: 0.9, x: 0.5, ...atTheBottom });
    if (bar.title) Object.assign(bar.title, { side: "bottom", font: { size: 12 } });
    below += 86;
  }
  const named = data.filter((trace) => trace.showlegend !== false && trace.name && !trace.z);
  for (const trace of named) trace.name = inLines(trace.name, width / 9);
  const legend = { orientation: "v", tracegroupgap: 0, x: 0, xanchor: "left", ...atTheBottom };
  if (named.length > 1) below += 12 + named.reduce((sum, trace) => sum + 4 + 16 * nLines(trace.name), 0);
  layout.legend = { ...layout.legend, ...legend };
  const ofTitle = 20 * (nLines(layout.title?.text ?? "") - nLines(title)) - (named.length > 1 ? 20 : 0);
  const above = margin.t + ofTitle + 16 * more;
  if (layout.title?.pad) layout.title.pad.t += 10 * (nLines(layout.title.text) - nLines(title));
  layout.margin = { ...margin, l: 58, r: 12, t: above, b: below };
  layout.height = inside + above + below;
  return { data, layout };
}

// ---- out of the page: light pictures and the numbers, without the network

const plainText = (text) => {
  const lines = String(text ?? "").replaceAll("<br>", " ");
  return new DOMParser().parseFromString(lines, "text/html").body.textContent.trim();
};

function columnOf(layout, letter) {
  const titles = new Set(namesOf(layout, letter).map((name) => plainText(layout[name].title?.text)).filter(Boolean));
  return { several: titles.size > 1, name: titles.size === 1 ? [...titles][0].split(";")[0] : letter };
}

/** A row a mark, a point or a cell, with what is known of it: {trace, x, y ...}; bands stand with their means. */
function rowsOf(panel, { data, layout }) {
  const [x, y] = [columnOf(layout, "x"), columnOf(layout, "y")];
  return panel._fullData.flatMap((trace, k) => {
    if (trace.fill === "toself") return [];
    const titleOf = (id) => plainText(axisOf(layout, id)?.title?.text);
    const panels = [x.several && titleOf(trace.xaxis ?? "x"), y.several && titleOf(trace.yaxis ?? "y")].filter(Boolean);
    const about = { panel: panels.join(", ") || undefined, trace: plainText(data[k].name ?? data[k].legendgroup) };
    if (trace.z) {
      const cell = (value, i, j) => ({ ...about, [y.name]: trace.y?.[j] ?? j, [x.name]: trace.x?.[i] ?? i, value });
      return [...trace.z].flatMap((row, j) => [...row].map((value, i) => cell(value, i, j)));
    }
    const n = Math.max(trace.x?.length ?? 0, trace.y?.length ?? 0);
    return Array.from({ length: n }, (_, i) => {
      const row = { ...about, [x.name]: trace.x?.[i], [y.name]: trace.y?.[i] };
      (trace.meta?.columns ?? []).forEach((name, at) => (row[name] = trace.customdata[i][at]));
      for (const error of trace.meta?.columns ? [] : ["error_x", "error_y"]) {
        if (trace[error]?.array) row[error] = trace[error].array[i];
      }
      const text = [trace.text, trace.hovertext].find((one) => one && typeof one !== "string");
      return text ? { ...row, text: plainText(text[i]) } : row;
    });
  });
}

function csvOf(rows) {
  const columns = [...new Set(rows.flatMap((row) => Object.keys(row).filter((name) => row[name] !== undefined)))];
  const cell = (value) => {
    if (typeof value === "number") return Number.isNaN(value) ? "" : String(value);
    const text = String(value ?? "").replaceAll('"', '""');
    return `"${/^[=+\-@\t\r]/.test(text) ? "'" : ""}${text}"`; // no spreadsheet takes it for a formula
  };
  const table = [columns, ...rows.map((row) => columns.map((name) => row[name]))];
  return table.map((row) => row.map(cell).join(",")).join("\r\n");
}

/** The address of what a reader saves, as he sees it: zoomed, and without the traces that he hid. */
async function addressOf(format, source, panel) {
  const figure = figureOf(source);
  if (format === "csv") return URL.createObjectURL(new Blob([csvOf(rowsOf(panel, figure))], { type: "text/csv" }));
  const { data, layout } = inTheme(figure, { ...LIGHT, paper: "#fff" });
  data.forEach((trace, k) => (trace.visible = panel.data[k].visible));
  for (const name of [...namesOf(layout, "x"), ...namesOf(layout, "y")]) {
    const { range, autorange } = panel.layout[name];
    Object.assign(layout[name], { range, autorange });
  }
  const size = { width: SAVED_WIDTH, height: layout.height ?? 450, scale: format === "png" ? 2 : 1 };
  return Plotly.toImage({ data, layout }, { format, ...size });
}

async function save(format, source, panel) {
  const title = plainText(figureOf(source).layout.title?.text).replace(/[^\p{L}\p{N}]+/gu, "-").slice(0, 60);
  const href = await addressOf(format, source, panel);
  Object.assign(document.createElement("a"), { href, download: `${title || "figure"}.${format}` }).click();
  if (href.startsWith("blob:")) setTimeout(() => URL.revokeObjectURL(href), 1000);
}

function addSave(source, panel) {
  const control = document.createElement("details");
  const opener = Object.assign(document.createElement("summary"), { textContent: "save" });
  opener.setAttribute("aria-label", "save this figure");
  control.className = "save";
  control.append(opener);
  for (const format of ["svg", "png", "csv"]) {
    const button = Object.assign(document.createElement("button"), { textContent: format.toUpperCase() });
    button.addEventListener("click", () => save(format, source, panel));
    control.append(button);
  }
  panel.after(control);
}

// ---- on the page

const keepFromKeyboard = (panel) => panel.querySelectorAll(".modebar-btn").forEach((button) => (button.tabIndex = -1));

async function drawOne(source, theme) {
  const isNew = source.nextElementSibling?.tagName !== "DIV" || !source.nextElementSibling._fullLayout;
  if (source.nextElementSibling?.tagName !== "DIV") source.after(document.createElement("div"));
  const panel = source.nextElementSibling;
  const figure = inTheme(figureOf(source), theme);
  const { data, layout } = narrow.matches ? narrowed(figure, panel.clientWidth) : figure;
  const modeBarButtons = [["zoom2d", "pan2d", "resetScale2d"]];
  const bar = { displayModeBar: narrow.matches ? false : "hover", modeBarButtons, displaylogo: false };
  await Plotly.react(panel, data, layout, { responsive: true, showSendToCloud: false, plotlyServerURL: "", ...bar });
  keepFromKeyboard(panel);
  if (!isNew) return;
  panel.on("plotly_afterplot", () => keepFromKeyboard(panel));
  addSave(source, panel);
}

function drawAll(isDark = dark.matches) {
  const sources = document.querySelectorAll(".figure > script[type='application/json']");
  sources.forEach((source) => drawOne(source, isDark ? DARK : LIGHT));
}

drawAll();
for (const query of [dark, narrow]) query.addEventListener("change", () => drawAll());
addEventListener("beforeprint", () => drawAll(false));
addEventListener("afterprint", () => drawAll());
