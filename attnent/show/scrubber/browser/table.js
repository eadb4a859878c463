// The responses as a table: sorted, searched, walked through by keys. Only the rows in sight are in the page.

import { button, clamp, counted, format, h } from "./elements.js";
import { summaryOf } from "./data.js";

const ROW_HEIGHT = 26, IN_SIGHT = 7; // pixels; rows

export class ResponseTable {
  constructor(scrubber) {
    Object.assign(this, { scrubber, by: null, isDown: false });
    const { responses } = scrubber.data, hasConfidence = responses.some((one) => "confidence" in one);
    const value = (name, of) => ({ name, of, text: (one) => format(of(one)) });
    const summary = (one) => summaryOf(one, scrubber.about.name);
    this.columns = [
      { name: "response", of: ({ id }) => id },
      { name: "prompt", of: ({ prompt }) => prompt },
      ...(responses.some(({ grade }) => grade) ? [{ name: "grade", of: ({ grade }) => grade }] : []),
      { name: "tokens", of: ({ n }) => n },
      value("mean", (one) => summary(one).mean),
      value("peak", (one) => summary(one).peak),
      ...(hasConfidence ? [value("confidence", ({ confidence }) => confidence ?? NaN)] : []),
    ];
    this.search = h("input", { type: "search", placeholder: "search", "aria-label": "search responses" });
    this.search.oninput = () => this.arrange();
    this.count = h("span", { class: "faint", role: "status" });
    this.heads = this.columns.map((column) =>
      h("th", { scope: "col" }, button(column.name, () => this.sort(column))));
    this.body = h("tbody", {});
    const table = h("table", { "aria-label": "responses" }, h("thead", {}, h("tr", {}, ...this.heads)), this.body);
    this.box = h("div", { class: "rows", tabindex: 0, role: "group", "aria-label": "responses, arrow keys choose one" }, table);
    this.box.onscroll = () => this.write();
    this.box.onkeydown = (event) => this.key(event);
    const summaryLine = h("summary", {}, counted(responses.length, "response"));
    this.node = h("details", { class: "responses" }, summaryLine, h("div", { class: "tools" }, this.search, this.count), this.box);
    this.node.ontoggle = () => this.intoView();
    this.arrange();
  }

  sort(column) {
    this.isDown = this.by === column && !this.isDown;
    this.by = column;
    this.heads.forEach((head, place) => {
      if (this.columns[place] === column) head.setAttribute("aria-sort", this.isDown ? "descending" : "ascending");
      else head.removeAttribute("aria-sort");
    });
    this.arrange();
  }

  /** Those that the search and the grade leave, in the order of a column. */
  arrange() {
    const wanted = this.search.value.trim().toLowerCase(), grade = this.scrubber.model.get("grade");
    const texts = ({ id, prompt, grade, tokens }) => [id, prompt, grade, tokens.join("")];
    this.order = this.scrubber.data.responses.filter((one) =>
      (!grade || one.grade === grade) && (!wanted || texts(one).some((text) => text.toLowerCase().includes(wanted))));
    if (this.by) {
      const { of } = this.by, sign = this.isDown ? -1 : 1;
      const compare = (a, b) => (typeof a === "string" ? a.localeCompare(b) : a - b);
      const known = (one) => !Number.isNaN(of(one));
      this.order.sort((a, b) => known(b) - known(a) || sign * compare(of(a), of(b)) || 0);
    }
    this.count.textContent = `${this.order.length} shown`;
    this.write();
  }

  write() {
    const first = clamp(Math.floor(this.box.scrollTop / ROW_HEIGHT) - 5, 0, Math.max(0, this.order.length - 1));
    const some = this.order.slice(first, first + IN_SIGHT + 12), gap = (n) => h("tr", { style: `height: ${n * ROW_HEIGHT}px` });
    this.body.replaceChildren(gap(first), ...some.map((one) => this.row(one)), gap(this.order.length - first - some.length));
  }

  row(one) {
    const isShown = one.id === this.scrubber.model.get("response");
    const cells = this.columns.map(({ of, text }) => {
      const shown = String(text ? text(one) : of(one));
      return h("td", { title: shown }, h("bdi", {}, shown));
    });
    const row = h("tr", { class: isShown ? "shown" : "", "aria-current": isShown }, ...cells);
    row.onclick = () => getSelection().isCollapsed && this.scrubber.choose("response", one.id);
    return row;
  }

  /** The response that stands so many rows after the one shown; the nearest where there are none so far. */
  neighbour(move) {
    const at = this.order.findIndex(({ id }) => id === this.scrubber.model.get("response"));
    return this.order[clamp(at + move, 0, this.order.length - 1)]?.id;
  }

  /** Bring the row of the response shown into sight. */
  intoView() {
    const at = this.order.findIndex(({ id }) => id === this.scrubber.model.get("response"));
    const room = this.box.clientHeight - ROW_HEIGHT - 4;
    if (at >= 0) this.box.scrollTop = Math.max((at + 1) * ROW_HEIGHT - room, Math.min(at * ROW_HEIGHT, this.box.scrollTop));
    this.write();
  }

  key(event) {
    const move = { ArrowUp: -1, ArrowDown: 1, PageUp: -IN_SIGHT, PageDown: IN_SIGHT }[event.key];
    const id = move && this.neighbour(move);
    if (!id) return;
    event.preventDefault();
    event.stopPropagation();
    this.scrubber.choose("response", id);
  }
}
