// Where the followed head looks: its top keys, marked in prompt and response, and listed with their weights.

import { button, counted, faint, h, probability, quoted, titledBlock } from "./elements.js";
import { topKeys } from "./data.js";

export class Looks {
  constructor(panel) {
    Object.assign(this, { panel, scrubber: panel.scrubber, response: panel.response, marked: [], said: "" });
  }

  /** The tokens of the prompt, where it was sent in tokens; else null. */
  writePrompt(pieces) {
    const { looks } = this.response;
    this.prompt = looks && looks.prompt.map((token, key) => h("span", { class: "token", "data-key": key }, ...pieces(token)));
    return this.prompt;
  }

  /** Mark the keys of a step; gives back what to say of them. */
  go(step) {
    this.said = "";
    for (const span of this.marked) span.classList.remove("looked");
    this.marked = [];
    const { followed } = this.scrubber, { response } = this;
    if (followed.layer < 0 || step < 0) return [];
    const keys = topKeys(response, step, followed);
    if (!keys) return [titledBlock("where does it look?", this.ask())];
    const nPrompt = response.looks.prompt.length;
    this.marked = keys.map(({ key, weight }) => {
      const span = key < nPrompt ? this.prompt?.[key] : this.panel.spans[key - nPrompt];
      span?.style.setProperty("--weight", weight.toFixed(3));
      span?.classList.add("looked");
      return span;
    }).filter(Boolean);
    const together = keys.reduce((sum, { weight }) => sum + weight, 0);
    const title = `it looks at, of all weight ${probability(Math.min(1, together))} here`;
    return [titledBlock(title, h("ol", { class: "candidates" }, ...keys.map((one) => this.item(one, nPrompt))))];
  }

  item({ key, weight }, nPrompt) {
    const { response, panel } = this, isPrompt = key < nPrompt;
    const text = quoted(isPrompt ? response.looks.prompt[key] : response.tokens[key - nPrompt]);
    const name = isPrompt ? h("span", {}, text) : button("", () => panel.choose({ step: key - nPrompt }));
    if (!isPrompt) name.append(text);
    const where = faint(isPrompt ? ` prompt ${key}` : ` token ${key - nPrompt}`);
    const bar = h("span", { class: "bar look", style: `width: ${100 * weight}%` });
    return h("li", {}, bar, h("span", { class: "where" }, name, where), h("span", { class: "share" }, probability(weight)));
  }

  /** What can be done where it was not recorded. */
  ask() {
    const { response, scrubber } = this, { model } = scrubber;
    if (response.looks) {
      const { layers, heads } = response.looks;
      return faint(`Known of ${counted(layers.length, "layer")} and ${counted(heads.length, "head")}: layers ` +
        `${layers.join(", ")}; heads ${heads.join(", ")}.`);
    }
    if (!model.get("can_read")) return faint("Recorded without its top keys; record with top_keys=8.");
    const again = button("read this response again", () => {
      model.set("asked", response.id);
      model.save_changes();
    });
    const [id, why] = model.get("unread"), isAsked = model.get("asked") === response.id;
    this.said = isAsked ? "This response is read again, which takes a running kernel and its model."
      : id === response.id ? `It could not be read: ${why}.` : "";
    return h("div", {}, isAsked ? "" : again, faint(this.said));
  }
}
