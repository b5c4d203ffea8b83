// Green, yellow, red and unknown: always a shape and a word besides the colour.

import { el, svg } from "./dom.js";
import { t } from "./i18n.js";

const SHAPES = {
  green: [["circle", { cx: 8, cy: 8, r: 7 }], ["path", { d: "M4.8 8.3l2.2 2.2 4.2-4.6", class: "mark" }]],
  yellow: [["path", { d: "M8 1.2 15.4 14.4H.6z" }], ["path", { d: "M8 5.8v4M8 12v.4", class: "mark" }]],
  red: [["path", { d: "M5 1h6l4 4v6l-4 4H5l-4-4V5z" }], ["path", { d: "M5.4 5.4l5.2 5.2M10.6 5.4l-5.2 5.2", class: "mark" }]],
  unknown: [["circle", { cx: 8, cy: 8, r: 6.4, class: "hollow" }], ["path", { d: "M6 6.4a2 2 0 1 1 2.6 2c-.5.2-.6.5-.6 1M8 11.4v.4", class: "mark" }]],
};

const BY_SEVERITY = { healthy: "green", minor: "yellow", warning: "yellow", major: "yellow", critical: "red" };

let believable = false;

/** While nothing is known of now, every state is unknown. */
export function setBelievable(now) {
  believable = now;
}

export const isBelievable = () => believable;

export function effective(state) {
  return believable && state in SHAPES ? state : "unknown";
}

export const stateOfSeverity = (severity) => BY_SEVERITY[severity] ?? "unknown";

/** The shape of a state, for inside an SVG or beside text that names it. */
export function stateShape(state, attributes = {}) {
  return svg(
    "svg",
    { viewBox: "0 0 16 16", width: 16, height: 16, class: `state-shape ${state}`, "aria-hidden": "true", focusable: "false", ...attributes },
    SHAPES[state].map(([tag, shape]) => svg(tag, shape)),
  );
}

/** Shape and word; states are those of meters and nodes. */
export function stateLabel(state) {
  const shown = effective(state);
  return el("span", { class: `state ${shown}`, data: { state: shown } }, stateShape(shown), el("span", { text: t(`state.${shown}`) }));
}

/** Shape and word of a severity or verdict. It is history or counted by the server, so it does not grow stale. */
export function severityLabel(severity, text) {
  const state = stateOfSeverity(severity);
  return el("span", { class: `state ${state}`, data: { state } }, stateShape(state), el("span", { text }));
}
