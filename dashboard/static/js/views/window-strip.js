// The last windows as bars: how many cycles were read, in part, not at all.

import { el, svg } from "../dom.js";
import { emptyBox } from "../feed.js";
import { clock, duration, number } from "../format.js";
import { t } from "../i18n.js";

const HEIGHT = 64;
const STEP = 12;
const WIDTH = 9;

/** Reports, in any order -> strip and table. */
export function windowStrip(reports) {
  if (!reports?.length) return emptyBox(t("windows.empty"), t("windows.empty.why"));
  const ordered = [...reports].sort((a, b) => Date.parse(a.start) - Date.parse(b.start));
  const most = Math.max(1, ...ordered.map((report) => report.cycles));
  const sum = (name) => ordered.reduce((total, report) => total + report[name], 0);
  const said = t("windows.summary", { windows: number(ordered.length), cycles: number(sum("cycles")), ok: number(sum("ok")), partial: number(sum("partial")), failed: number(sum("failed")) });
  const drawing = svg("svg", { class: "window-strip", role: "img", "aria-label": said, viewBox: `0 0 ${ordered.length * STEP} ${HEIGHT}`, width: ordered.length * STEP, height: HEIGHT }, ordered.map((report, index) => bar(report, index * STEP, most)));
  return [el("p", { class: "hint", text: said }), legend(), el("div", { class: "scroller", tabindex: "0", role: "region", "aria-label": t("meter.windows") }, drawing), table(ordered)];
}

function bar(report, x, most) {
  const title = `${clock(report.start)}: ${t("tile.cycles.detail", { ok: number(report.ok), partial: number(report.partial), failed: number(report.failed) })}`;
  const parts = [];
  let y = HEIGHT;
  for (const name of ["ok", "partial", "failed"]) {
    const height = (report[name] / most) * (HEIGHT - 4);
    if (!height) continue;
    y -= height;
    parts.push(svg("rect", { class: `bar ${name}`, x, y, width: WIDTH, height: Math.max(1, height - 1) }));
    if (name === "failed" && height > 8) parts.push(svg("path", { class: "bar-mark", d: `M${x + 2} ${y + 2}l5 5m0-5l-5 5` }));
  }
  if (!report.cycles) parts.push(svg("rect", { class: "bar none", x: x + 0.5, y: HEIGHT - 5, width: WIDTH - 1, height: 4 }));
  return svg("g", {}, svg("title", {}, title), svg("rect", { class: "bar-ground", x, y: 0, width: WIDTH, height: HEIGHT }), parts);
}

function legend() {
  return el("ul", { class: "legend" }, ["ok", "partial", "failed"].map((name) => el("li", {}, svg("svg", { viewBox: "0 0 9 9", width: 11, height: 11, "aria-hidden": "true" }, svg("rect", { class: `bar ${name}`, width: 9, height: 9 }), name === "failed" ? svg("path", { class: "bar-mark", d: "M2 2l5 5m0-5l-5 5" }) : null), el("span", { text: t(`windows.${name}`) }))));
}

function table(reports) {
  const columns = ["start", "cycles", "ok", "partial", "failed", "published", "rejected", "read_time"];
  const cells = (report) => [clock(report.start), number(report.cycles), number(report.ok), number(report.partial), number(report.failed), number(report.published), number(report.rejected), report.read_p50 === null || report.read_p50 === undefined ? "–" : `${duration(report.read_p50)} / ${duration(report.read_p95)}`];
  return el(
    "details",
    {},
    el("summary", { text: t("windows.as-table") }),
    el("div", { class: "scroller", tabindex: "0", role: "region", "aria-label": t("meter.windows") }, el("table", { class: "grid" }, el("thead", {}, el("tr", {}, columns.map((name) => el("th", { scope: "col", class: name === "start" ? null : "number", text: t(`windows.column.${name}`) })))), el("tbody", {}, [...reports].reverse().map((report) => el("tr", {}, cells(report).map((text, index) => (index ? el("td", { class: "number", text }) : el("th", { scope: "row", text })))))))),
  );
}

