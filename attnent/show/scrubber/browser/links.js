// A state as a link and as Python.

import { placeOf } from "./data.js";

/** What a fragment asks for: response, step, layer and head, measure, compared; null where it asks for nothing. */
export function readFragment(fragment) {
  const asked = new URLSearchParams(fragment.replace(/^#/, "")), state = {};
  for (const name of ["response", "measure", "compared"]) if (asked.get(name)) state[name] = asked.get(name);
  if (/^\d+$/.test(asked.get("step") ?? "")) state.step = Number(asked.get("step"));
  const head = /^(\d+)\.(\d+)$/.exec(asked.get("head") ?? "");
  if (head) [state.layer, state.head] = [Number(head[1]), Number(head[2])];
  return Object.keys(state).length ? state : null;
}

/** The fragment that opens a state; a head is written layer.head. */
export function fragmentOf(state) {
  const { response, step, measure, layer, head, compared } = state;
  const asked = new URLSearchParams({ response, step, measure });
  if (layer >= 0) asked.set("head", `${layer}.${head}`);
  if (compared) asked.set("compared", compared);
  return `#${asked}`;
}

/** Python that shows this state again, and that reads its number from the trace. */
export function pythonOf(state, { response, cell, about }) {
  const names = ["response", "step", "measure", "layer", "head"], { layer, head } = placeOf(response, cell);
  const lines = names.map((name) => `scrubber.${name} = ${JSON.stringify(state[name])}`);
  const trace = `trace = run.trace(${JSON.stringify(response.id)})`;
  const values = about.of_tokens ? `trace.${about.name}`
    : about.is_derived ? `ae.${about.name}(trace)` : `trace.${about.name}`;
  const where = cell < 0 ? `step=${state.step}` : `layer=${layer}, head=${head}, step=${state.step}`;
  const mean = about.of_tokens || cell >= 0 ? "" : '.mean(["layer", "head"])';
  return [...lines, "", `${trace}  # where \`run\` is what the Scrubber shows`, `${values}.sel(${where})${mean}`].join("\n");
}
