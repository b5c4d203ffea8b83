// The flow: what happens now, as a drawing and as numbers, and what is wrong.

import { datum, el } from "../dom.js";
import { Feed, emptyBox, errorBox, loadingBox } from "../feed.js";
import { number, rate, timeElement } from "../format.js";
import { t, tOr } from "../i18n.js";
import { replaceParameters } from "../router.js";
import { sentence } from "../sentences.js";
import { severityLabel, stateLabel } from "../state.js";
import { term } from "../terms.js";
import { facts } from "./facts.js";
import { FlowDrawing, kindOf } from "./flow-drawing.js";
import { Tiles } from "./flow-tiles.js";

const ZOOMS = [0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1, 1.15, 1.3, 1.5, 1.8];
const LEAST_FIT = 0.78; // smaller cannot be read: scroll instead

export function open(route) {
  return new FlowView(route);
}

const FINDINGS_SHOWN = 3;

class FlowView {
  constructor(route) {
    this.title = t("view.flow");
    this.selected = route.parameters.node ?? null;
    this.zoom = null;
    this.tiles = new Tiles();
    this.findings = el("section", { class: "findings", hidden: true, "aria-label": t("flow.findings") });
    this.stage = el("div", { class: "stage", tabindex: "-1" }, loadingBox());
    this.details = el("div", { class: "node-details" });
    this.table = el("div", { class: "scroller", tabindex: "0", role: "region", "aria-label": t("flow.as-table") });
    this.element = el(
      "div",
      { class: "view view-flow" },
      el("h1", { tabindex: "-1", text: this.title }),
      this.findings,
      this.tiles.element,
      el(
        "section",
        { class: "card stage-card", "aria-label": t("flow.drawing") },
        el(
          "div",
          { class: "stage-tools" },
          el("p", { class: "hint", text: t("flow.hint") }),
          el("div", { class: "button-row", role: "group", "aria-label": t("zoom") }, this.button("−", "zoom.out", () => this.step(-1)), this.button(t("zoom.fit"), "zoom.fit.label", () => this.fit()), this.button("+", "zoom.in", () => this.step(1))),
        ),
        this.stage,
        this.details,
      ),
      el("details", { class: "card" }, el("summary", { text: t("flow.as-table") }), this.table),
    );
    this.flow = new Feed({ path: "/flow", every: 2, show: ({ nodes }) => this.show(nodes), fail: (error) => this.stage.replaceChildren(errorBox(error, () => this.flow.load())) });
    this.health = new Feed({ path: "/health", every: 10, show: ({ findings }) => this.showFindings(findings) });
    this.resizing = new ResizeObserver(() => this.zoom === null && this.applyZoom());
    this.resizing.observe(this.stage);
  }

  update(overview) {
    this.overview = overview;
    this.tiles.update(overview);
  }

  redraw() {
    if (this.overview) this.tiles.update(this.overview);
    if (this.nodes) this.show(this.nodes);
  }

  alarm() {
    this.health.refresh();
  }

  close() {
    this.flow.close();
    this.health.close();
    this.resizing.disconnect();
  }

  show(nodes) {
    this.nodes = nodes;
    if (!nodes.length) {
      this.stage.replaceChildren(emptyBox(t("flow.empty"), t("flow.empty.why")));
      return;
    }
    const shape = JSON.stringify(nodes.map((node) => [node.id, node.type, node.inputs, node.outputs, Object.keys(node.emitted ?? {})]));
    if (shape !== this.shape) {
      this.shape = shape;
      this.drawing = new FlowDrawing(nodes, (id) => this.select(id));
      this.stage.replaceChildren(this.drawing.element);
      this.applyZoom();
      this.drawing.select(this.selected);
      this.stage.querySelector(".node.selected")?.scrollIntoView({ block: "nearest", inline: "center" });
    } else this.drawing.update(nodes);
    this.showDetails();
    this.showTable();
  }

  select(id) {
    this.selected = id;
    replaceParameters({ node: id });
    this.drawing.select(id);
    this.showDetails();
  }

  showDetails() {
    const node = this.nodes.find(({ id }) => id === this.selected);
    const said = JSON.stringify(node ? [node, stateLabel(node.state).textContent] : null);
    if (said === this.detailsSaid) return;
    this.detailsSaid = said;
    this.details.hidden = !node;
    if (!node) return;
    const ports = Object.entries(node.emitted ?? {});
    this.details.replaceChildren(
      el("h2", {}, datum(node.id), " ", el("span", { class: `kind ${kindOf(node.type)}` }, datum(node.type)), " ", stateLabel(node.state)),
      node.summary ? sentence(node.summary, { tag: "p" }) : null,
      facts([
        [t("flow.inputs"), node.inputs?.length ? el("ul", { class: "plain" }, node.inputs.map((input) => el("li", {}, datum(input), ` ${rate(this.rateOf(input))}`))) : t("flow.no-inputs")],
        [t("flow.outputs"), ports.length ? el("ul", { class: "plain" }, ports.map(([port, count]) => el("li", {}, datum(port), ` ${t("items", { n: number(count), count })}, ${rate(node.rate?.[port] ?? null)}`))) : t("flow.no-outputs")],
        [t("flow.last"), timeElement(node.last, true)],
        node.reason ? [t("flow.reason"), sentence(node.reason)] : null,
      ]),
    );
  }

  rateOf(input) {
    const whole = this.nodes.find(({ id }) => id === input);
    if (whole) return whole.rate?.main ?? null;
    const dot = input.lastIndexOf(".");
    return this.nodes.find(({ id }) => id === input.slice(0, dot))?.rate?.[input.slice(dot + 1)] ?? null;
  }

  showTable() {
    if (!this.table.parentElement.open && this.table.firstChild) return;
    const rows = this.nodes.flatMap((node) => {
      const ports = Object.keys(node.emitted ?? {});
      return (ports.length ? ports : [null]).map((port) =>
        el("tr", {}, el("th", { scope: "row" }, datum(node.id)), el("td", {}, datum(node.type)), el("td", {}, stateLabel(node.state)), el("td", {}, datum((node.inputs ?? []).join(", "))), el("td", {}, datum(port ?? "–")), el("td", { class: "number", text: number(port ? node.emitted[port] : null) }), el("td", { class: "number", text: rate(port ? (node.rate?.[port] ?? null) : null) }), el("td", {}, timeElement(node.last))),
      );
    });
    const columns = ["node", "type", "state", "inputs", "port", "emitted", "rate", "last"];
    this.table.replaceChildren(el("table", { class: "grid" }, el("thead", {}, el("tr", {}, columns.map((name) => el("th", { scope: "col", text: t(`flow.column.${name}`) })))), el("tbody", {}, rows)));
  }

  showFindings(findings) {
    const said = JSON.stringify(findings);
    if (said === this.findingsSaid) return;
    this.findingsSaid = said;
    const rest = findings.slice(FINDINGS_SHOWN);
    this.findings.hidden = !findings.length;
    this.findings.className = `findings ${findings.some(({ severity }) => severity === "critical") ? "critical" : ""}`;
    this.findings.replaceChildren(
      el("ul", {}, findings.slice(0, FINDINGS_SHOWN).map(finding)),
      rest.length ? el("details", {}, el("summary", { text: t("flow.more-findings", { n: number(rest.length), count: rest.length }) }), el("ul", {}, rest.map(finding))) : "",
    );
  }

  button(text, label, click) {
    return el("button", { type: "button", class: "button small", text, "aria-label": t(label), on: { click } });
  }

  step(direction) {
    const now = this.zoom ?? this.fitting();
    const larger = ZOOMS.filter((zoom) => zoom > now + 0.01);
    const smaller = ZOOMS.filter((zoom) => zoom < now - 0.01);
    this.zoom = (direction > 0 ? larger[0] : smaller.at(-1)) ?? now;
    this.applyZoom();
  }

  fit() {
    this.zoom = null;
    this.applyZoom();
  }

  fitting() {
    const room = this.stage.clientWidth;
    return room ? Math.min(1.15, Math.max(LEAST_FIT, room / this.drawing.layout.width)) : 1;
  }

  applyZoom() {
    if (!this.drawing) return;
    const zoom = this.zoom ?? this.fitting();
    this.drawing.element.setAttribute("width", Math.round(this.drawing.layout.width * zoom));
    this.drawing.element.setAttribute("height", Math.round(this.drawing.layout.height * zoom));
  }
}

function finding({ severity, subject, what, remedy }) {
  return el("li", { class: "finding" }, severityLabel(severity, tOr(`severity.${severity}`, severity)), el("p", {}, el("strong", {}, term("subject", subject), ": "), sentence(what), remedy ? el("span", { class: "remedy" }, " → ", sentence(remedy)) : null));
}
