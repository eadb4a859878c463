// Draws the figures of a page in the reader's theme, shows or hides the code, and sorts the index by a column.
const dark = matchMedia("(prefers-color-scheme: dark)");

function inTheme(figure, isDark) {
  const { data, layout } = structuredClone(figure);
  const base = ((layout.template ??= {}).layout ??= {});
  base.paper_bgcolor = base.plot_bgcolor = "rgba(0,0,0,0)"; // the page shines through
  if (isDark) {
    base.font = { ...base.font, color: "#ddd" };
    for (const axis of ["xaxis", "yaxis"]) base[axis] = { ...base[axis], gridcolor: "#333", linecolor: "#888" };
  }
  return { data, layout };
}

function draw(isDark) {
  for (const source of document.querySelectorAll(".figure > script[type='application/json']")) {
    const { data, layout } = inTheme(JSON.parse(source.textContent), isDark);
    let panel = source.nextElementSibling;
    if (!panel) source.after((panel = document.createElement("div")));
    Plotly.react(panel, data, layout, { displaylogo: false, responsive: true });
  }
}

draw(dark.matches);
dark.addEventListener("change", () => draw(dark.matches));
addEventListener("beforeprint", () => draw(false));
addEventListener("afterprint", () => draw(dark.matches));

document.querySelector(".code-switch")?.addEventListener("click", () => document.body.classList.toggle("show-code"));

const isNumber = (key) => key !== "" && !Number.isNaN(Number(key));
const order = (a, b) => (isNumber(a) && isNumber(b) ? a - b : a.localeCompare(b));

document.querySelectorAll(".index th").forEach((heading, column) => {
  heading.addEventListener("click", () => {
    const ascending = heading.getAttribute("aria-sort") !== "ascending";
    document.querySelectorAll(".index th").forEach((other) => other.removeAttribute("aria-sort"));
    heading.setAttribute("aria-sort", ascending ? "ascending" : "descending");
    const key = (row) => row.cells[column].dataset.key;
    const rows = [...document.querySelectorAll(".index tbody tr")];
    rows.sort((a, b) => order(key(a), key(b)) * (ascending ? 1 : -1));
    document.querySelector(".index tbody").append(...rows);
  });
});
