// The flow as a drawing: nodes with ports, wires with their rate, a shape for each node's state.

import { svg } from "../dom.js";
import { number, rate } from "../format.js";
import { t } from "../i18n.js";
import { plainSentence } from "../sentences.js";
import { effective, isBelievable, stateShape } from "../state.js";
import { layOut, portY } from "./flow-layout.js";

const MARK = 38; // width of the icon's field

const KINDS = {
  "dlms-in": ["source", "M3 17a9 9 0 1 1 18 0zM12 14l4-5M12 5v2M5 13h2M17 13h2"],
  "dlms-push-in": ["source", "M3 17a9 9 0 1 1 18 0zM12 15V8M9 11l3-3 3 3"],
  "receipts-in": ["receipts", "M6 3h12v18l-3-2-3 2-3-2-3 2zM9 9l2 2 4-4M9 15h6"],
  "profile-recall": ["receipts", "M4 12a8 8 0 1 0 3-6M4 4v4h4M12 8v4l3 2"],
  map: ["function", "M4 7h10M11 4l3 3-3 3M20 17H10M13 14l-3 3 3 3"],
  validate: ["check", "M12 3l8 3v6c0 5-4 8-8 9-4-1-8-4-8-9V6zM8.5 12l2.5 2.5 4.5-5"],
  filter: ["check", "M4 5h16l-6 8v6l-4-2v-4z"],
  health: ["watch", "M3 12h4l3-7 4 14 3-7h4"],
  alert: ["watch", "M6 16V11a6 6 0 0 1 12 0v5l2 2H4zM10 21h4"],
  "thingsboard-out": ["server", "M7 18a4 4 0 0 1-.5-8A6 6 0 0 1 18 9a4.5 4.5 0 0 1 0 9zM12 18v-6M9.5 14 12 11.5l2.5 2.5"],
  "archive-out": ["store", "M5 6c0-4 14-4 14 0v12c0 4-14 4-14 0zM5 6c0 4 14 4 14 0M5 12c0 4 14 4 14 0"],
  "console-out": ["debug", "M3 5h18v14H3zM7 9l3 3-3 3M12 15h5"],
  debug: ["debug", "M8 8a4 4 0 0 1 8 0v6a4 4 0 0 1-8 0zM8 11H4M20 11h-4M8 15l-3 3M16 15l3 3M9 5 7 3M15 5l2-2"],
};
const OTHER = { in: ["source", KINDS["dlms-in"][1]], out: ["store", KINDS["archive-out"][1]], between: ["function", "M8 4c-4 0 0 8-4 8 4 0 0 8 4 8M16 4c4 0 0 8 4 8-4 0 0 8-4 8"] };

/** The kind of a node type: the name of its colour. */
export const kindOf = (type) => (KINDS[type] ?? OTHER[type.match(/-(in|out)$/)?.[1] ?? "between"])[0];

/**
 * Draws nodes and keeps rates and states up to date. `chosen` is called with a node's id, or null.
 * One node is a tab stop; the arrow keys lead to the next one in their direction.
 */
export class FlowDrawing {
  constructor(nodes, chosen) {
    this.chosen = chosen;
    this.layout = layOut(nodes);
    this.byId = new Map();
    this.labels = new Map();
    this.wires = this.layout.wires.map((wire) => ({ ...wire, line: svg("path", { d: wire.d, class: "wire" }), flow: svg("path", { d: wire.d, class: "wire-flow" }), title: svg("title") }));
    for (const wire of this.wires) wire.line.append(wire.title);
    const { width, height } = this.layout;
    this.element = svg(
      "svg",
      { viewBox: `0 0 ${width} ${height}`, width, height, class: "flow", role: "group", "aria-label": t("flow.drawing") },
      svg("g", { class: "wires" }, this.wires.map((wire) => wire.line), this.wires.map((wire) => wire.flow)),
      svg("g", {}, nodes.map((node) => this.node(node))),
      svg("g", { class: "rates", "aria-hidden": "true" }, this.portLabels()),
    );
    this.element.addEventListener("keydown", (event) => this.key(event));
    this.setStop(this.layout.nodes[0]?.id);
    this.update(nodes);
  }

  /** New rates and states of the same nodes. */
  update(nodes) {
    const byId = new Map(nodes.map((node) => [node.id, node]));
    this.rates = new Map(nodes.map((node) => [node.id, isBelievable() ? node.rate : null]));
    for (const wire of this.wires) {
      const perSecond = this.rates.get(wire.from)?.[wire.port] ?? null;
      const moving = perSecond > 0 && effective(byId.get(wire.from).state) !== "unknown";
      wire.flow.classList.toggle("moving", moving);
      wire.flow.classList.toggle("quick", perSecond >= 10);
      const text = `${wire.from}${wire.port === "main" ? "" : `.${wire.port}`} → ${wire.to}: ${rate(perSecond)}`;
      if (wire.title.textContent !== text) wire.title.textContent = text;
    }
    for (const [key, { element, text, plate, id, port }] of this.labels) {
      const said = rate(this.rates.get(id)?.[port] ?? null);
      if (element.dataset.said === said) continue;
      element.dataset.said = said;
      text.textContent = said;
      plate.setAttribute("width", said.length * 6.1 + 10);
      this.labels.get(key).text = text;
    }
    for (const node of nodes) this.updateNode(node);
  }

  select(id) {
    for (const [key, { element }] of this.byId) {
      element.classList.toggle("selected", key === id);
      element.setAttribute("aria-pressed", String(key === id));
    }
    this.element.classList.toggle("has-selection", Boolean(id));
    for (const wire of this.wires) {
      const concerned = wire.from === id || wire.to === id;
      wire.line.classList.toggle("selected", concerned);
    }
    if (id) this.setStop(id);
  }

  focus(id) {
    this.setStop(id);
    this.byId.get(id)?.element.focus();
  }

  node(node) {
    const { x, y, width, height, ports } = this.layout.nodes.find((place) => place.id === node.id);
    const [kind, drawing] = KINDS[node.type] ?? OTHER[node.type.match(/-(in|out)$/)?.[1] ?? "between"];
    const middle = height / 2;
    const status = svg("g", { class: "node-status", transform: `translate(4 ${height + 6})` });
    const title = svg("title");
    const element = svg(
      "g",
      { class: `node ${kind}`, transform: `translate(${x} ${Math.round(y * 10) / 10})`, role: "button", tabindex: "-1", "aria-pressed": "false", "data-id": node.id },
      title,
      svg("rect", { class: "node-halo", x: -4, y: -4, width: width + 8, height: height + 8, rx: 11 }),
      svg("rect", { class: "node-body", width, height, rx: 8 }),
      svg("path", { class: "node-mark-field", d: `M8 0h${MARK - 8}v${height}H8a8 8 0 0 1-8-8V8a8 8 0 0 1 8-8z` }),
      svg("g", { transform: `translate(${MARK / 2 - 11} ${middle - 11}) scale(.92)` }, svg("path", { class: "node-mark", d: drawing })),
      svg("text", { class: "node-name", x: MARK + 9, y: middle - 3, translate: "no" }, shortened(node.id, 16)),
      svg("text", { class: "node-type", x: MARK + 9, y: middle + 13, translate: "no" }, shortened(node.type, 20)),
      node.inputs?.length ? svg("rect", { class: "port", x: -5, y: middle - 5, width: 10, height: 10, rx: 3 }) : null,
      ports.map((port) => svg("rect", { class: port === "main" ? "port" : "port side", x: width - 5, y: portY(ports, port) - 5, width: 10, height: 10, rx: 3 })),
      status,
    );
    element.addEventListener("click", () => this.chosen(element.classList.contains("selected") ? null : node.id));
    this.byId.set(node.id, { element, status, title, said: "" });
    return element;
  }

  updateNode(node) {
    const drawn = this.byId.get(node.id);
    if (!drawn) return;
    const state = effective(node.state);
    const said = `${t(`state.${state}`)} · ${this.passed(node)}`;
    if (drawn.said === said) return;
    drawn.said = said;
    drawn.title.textContent = node.summary ? `${node.id}: ${plainSentence(node.summary)}` : node.id;
    drawn.element.setAttribute("aria-label", `${node.id}, ${node.type}: ${said}`);
    drawn.element.dataset.state = state;
    drawn.status.replaceChildren(stateShape(state, { x: 0, y: 0, width: 12, height: 12 }), svg("text", { x: 17, y: 10 }, said));
  }

  /** What a node gave since the start; of the end of a flow how much it takes. */
  passed(node) {
    const given = Object.values(node.emitted ?? {});
    if (given.length || (node.outputs ?? []).length) {
      const items = given.reduce((sum, count) => sum + count, 0);
      return t("items", { n: number(items), count: items });
    }
    const taken = this.wires.filter((wire) => wire.to === node.id).reduce((sum, wire) => sum + (this.rates.get(wire.from)?.[wire.port] ?? 0), 0);
    return t("flow.takes", { rate: rate(taken) });
  }

  /** The rate beside each port, where all its wires begin. */
  portLabels() {
    const labels = [];
    for (const { id, x, y, width, ports } of this.layout.nodes) {
      for (const port of ports) {
        if (port !== "main") labels.push(svg("text", { class: "port-name", x: x + width - 9, y: y + portY(ports, port) + 3.5, "text-anchor": "end", translate: "no" }, port));
        if (!this.wires.some((wire) => wire.from === id && wire.port === port)) continue;
        const text = svg("text", { x: 5, y: 11 });
        const plate = svg("rect", { class: "plate", height: 15, rx: 4 });
        const element = svg("g", { class: "rate", transform: `translate(${x + width + 10} ${y + portY(ports, port) - 7.5})` }, plate, text);
        this.labels.set(JSON.stringify([id, port]), { element, text, plate, id, port });
        labels.push(element);
      }
    }
    return labels;
  }

  setStop(id) {
    for (const [key, { element }] of this.byId) element.setAttribute("tabindex", key === id ? "0" : "-1");
  }

  key(event) {
    const id = event.target.closest?.("[data-id]")?.dataset.id;
    if (!id || event.altKey || event.ctrlKey || event.metaKey) return;
    if (event.key === "Enter" || event.key === " ") this.chosen(this.byId.get(id).element.classList.contains("selected") ? null : id);
    else if (event.key === "Escape") this.chosen(null);
    else if (event.key === "Home") this.focus(this.layout.nodes[0].id);
    else if (event.key === "End") this.focus(this.layout.nodes.at(-1).id);
    else if (event.key.startsWith("Arrow")) {
      const next = neighbour(this.layout.nodes, id, event.key.slice(5));
      if (next) this.focus(next);
    } else return;
    event.preventDefault();
  }
}

const DIRECTIONS = { Right: [1, 0], Left: [-1, 0], Down: [0, 1], Up: [0, -1] };

/** The nearest node in a direction, those straight ahead first. */
function neighbour(places, id, direction) {
  const [dx, dy] = DIRECTIONS[direction];
  const from = places.find((place) => place.id === id);
  let best = null;
  for (const place of places) {
    const [x, y] = [place.x - from.x, place.y - from.y];
    const ahead = x * dx + y * dy;
    if (ahead <= 1) continue;
    const cost = ahead + 2 * Math.abs(x * dy + y * dx);
    if (!best || cost < best.cost) best = { id: place.id, cost };
  }
  return best?.id ?? null;
}

const shortened = (text, length) => (text.length > length ? `${text.slice(0, length - 1)}…` : text);
