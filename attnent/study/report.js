// Unpacks the scripts that draw figures, shows or hides the code, and sorts the index by a column.
const { nonce } = document.currentScript;

async function runPacked(packed) {
  const bytes = Uint8Array.from(atob(packed.textContent), (character) => character.charCodeAt(0));
  const unpacked = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate"));
  const script = Object.assign(document.createElement("script"), { nonce });
  script.textContent = await new Response(unpacked).text();
  document.body.append(script);
}

document.querySelectorAll("script[type='application/zlib']").forEach(runPacked);

const codeSwitch = document.querySelector(".code-switch");
codeSwitch?.addEventListener("click", () => {
  codeSwitch.setAttribute("aria-pressed", document.body.classList.toggle("show-code"));
});

const isNumber = (key) => key !== "" && !Number.isNaN(Number(key));
const order = (a, b) => (isNumber(a) && isNumber(b) ? a - b : a.localeCompare(b));

for (const heading of document.querySelectorAll(".index th")) {
  heading.addEventListener("click", () => {
    const [table, column] = [heading.closest("table"), heading.cellIndex];
    const ascending = heading.getAttribute("aria-sort") !== "ascending";
    table.querySelectorAll("th").forEach((other) => other.removeAttribute("aria-sort"));
    heading.setAttribute("aria-sort", ascending ? "ascending" : "descending");
    const key = (row) => row.cells[column].dataset.key;
    const rows = [...table.tBodies[0].rows].sort((a, b) => order(key(a), key(b)) * (ascending ? 1 : -1));
    table.tBodies[0].append(...rows);
  });
}
