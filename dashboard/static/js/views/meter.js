// One meter: its values, how they went, what was read of its profiles, what failed and what to do.

import { datum, el } from "../dom.js";
import { Feed, emptyBox, errorBox, loadingBox } from "../feed.js";
import { duration, number, percent, quantity, timeElement } from "../format.js";
import { t } from "../i18n.js";
import { sentence } from "../sentences.js";
import { effective, stateLabel } from "../state.js";
import { term } from "../terms.js";
import { calendarStrip } from "./calendar-strip.js";
import { ChartPanel } from "./chart-panel.js";
import { facts } from "./facts.js";
import { windowStrip } from "./window-strip.js";

const ERRORS_SHOWN = 10;

export function open(route) {
  return new MeterView(route);
}

class MeterView {
  constructor({ id, parameters }) {
    this.id = id;
    this.title = id;
    this.parameters = parameters;
    this.heading = el("h1", { tabindex: "-1" }, datum(id));
    this.body = el("div", {}, loadingBox());
    this.element = el("div", { class: "view view-meter" }, el("p", { class: "crumbs" }, el("a", { href: "#/meters", text: t("meter.back") })), this.heading, this.body);
    this.feed = new Feed({ path: `/meters/${encodeURIComponent(id)}`, every: 5, show: (meter) => this.show(meter), fail: (error) => this.fail(error) });
  }

  update(overview) {
    if (overview.window?.end !== this.window) {
      if (this.window !== undefined) this.feed.refresh();
      this.window = overview.window?.end;
    }
  }

  redraw() {
    this.sections?.forEach((section) => (section.said = ""));
    if (this.meter) this.show(this.meter);
  }

  theme() {
    this.chart?.draw();
  }

  close() {
    this.feed.close();
    this.chart?.close();
  }

  fail(error) {
    this.sections = null;
    this.chart?.close();
    this.chart = null;
    this.body.replaceChildren(error.status === 404 ? emptyBox(t("meter.none"), t("meter.none.why")) : errorBox(error, () => this.feed.load()));
  }

  show(meter) {
    this.meter = meter;
    if (!this.sections) this.build(meter);
    for (const section of this.sections) {
      const part = section.part(meter);
      const said = JSON.stringify(part);
      if (section.said === said) continue;
      section.said = said;
      const opened = section.place.querySelector("details")?.open;
      section.place.replaceChildren(...[section.draw(part)].flat());
      if (opened) section.place.querySelector("details").open = true;
    }
  }

  build(meter) {
    this.chart = meter.values?.length ? new ChartPanel(this.id, meter.values, this.parameters) : null;
    this.sections = [
      section(null, (m) => [m.state, m.name, m.template, m.connect, m.tags, m.interval, m.success, m.last_good, m.read_p50, m.read_p95, m.gaps_open, m.gaps_lost, m.removed], () => summary(this.meter)),
      section("meter.values", (m) => m.values, valueCards),
      section("meter.windows", (m) => m.reports, windowStrip),
      section("meter.intervals", (m) => [m.profiles, m.gaps], ([profiles, gaps]) => calendarStrip(profiles ?? [], gaps ?? [])),
      section("meter.errors", (m) => m.errors, errorList),
      section("meter.rejections", (m) => m.rejections, rejectionList),
    ];
    const [top, values, ...rest] = this.sections.map(({ element }) => element);
    this.body.replaceChildren(top, values, this.chart?.element ?? "", ...rest);
  }
}

function section(title, part, draw) {
  const place = el("div", {});
  return { part, draw, place, said: "", element: el("section", { class: "card" }, title ? el("h2", { text: t(title) }) : null, place) };
}

function summary(meter) {
  return [
    el("p", { class: "headline" }, stateLabel(meter.state), el("span", { text: t(effective(meter.state) === meter.state ? `meter.state.${meter.state}` : "meter.state.now-unknown") }), meter.removed ? el("span", { class: "tag", text: t("meters.removed") }) : null),
    facts([
      [t("meter.name"), datum(meter.name ?? "–")],
      [t("meter.connect"), datum(meter.connect ?? "–", { class: "code" })],
      [t("meter.template"), datum(meter.template ?? "–")],
      [t("meter.interval"), duration(meter.interval)],
      [t("meters.column.success"), percent(meter.success)],
      [t("meters.column.read_time"), `${duration(meter.read_p50)} / ${duration(meter.read_p95)}`],
      [t("meters.column.last_good"), timeElement(meter.last_good, true)],
      [t("meters.column.gaps"), t("meter.gaps", { open: number(meter.gaps_open), lost: number(meter.gaps_lost) })],
      ...Object.entries(meter.tags ?? {}).map(([name, value]) => [datum(name), datum(String(value))]),
    ]),
  ];
}

function valueCards(values) {
  if (!values?.length) return emptyBox(t("meter.values.empty"), t("meter.values.empty.why"));
  return el("ul", { class: "value-cards" }, values.map(({ key, value, unit, ts }) => el("li", {}, datum(key, { class: "key" }), el("span", { class: "big" }, datum(quantity(value)), unit ? datum(` ${unit}`, { class: "unit" }) : null), timeElement(ts, true))));
}

function errorList(errors) {
  if (!errors?.length) return emptyBox(t("meter.errors.empty"), null);
  return longTable(errors, ["at", "kind", "what", "remedy"], ({ at, key, kind, detail, remedy }) => [timeElement(at), term("error-kind", kind), [key ? datum(`${key}: `, { class: "code" }) : null, sentence(detail)], remedy ? sentence(remedy) : "–"]);
}

function rejectionList(rejections) {
  if (!rejections?.length) return emptyBox(t("meter.rejections.empty"), null);
  return longTable(rejections, ["at", "key", "value", "rule", "reason"], ({ at, ts, key, value, unit, rule, reason }) => [timeElement(at ?? ts), datum(key, { class: "code" }), datum(`${quantity(value)}${unit ? ` ${unit}` : ""}`), datum(rule, { class: "code" }), sentence(reason)]);
}

function longTable(items, columns, cells) {
  const table = (some) =>
    el("div", { class: "scroller", tabindex: "0", role: "region", "aria-label": t("table") }, el("table", { class: "grid stack", role: "table" }, el("thead", { role: "rowgroup" }, el("tr", { role: "row" }, columns.map((name) => el("th", { role: "columnheader", scope: "col", text: t(`column.${name}`) })))), el("tbody", { role: "rowgroup" }, some.map((item) => el("tr", { role: "row" }, cells(item).map((content, index) => el("td", { role: "cell", "data-column": t(`column.${columns[index]}`) }, content)))))));
  if (items.length <= ERRORS_SHOWN) return table(items);
  return [table(items.slice(0, ERRORS_SHOWN)), el("details", {}, el("summary", { text: t("older", { n: number(items.length - ERRORS_SHOWN) }) }), table(items.slice(ERRORS_SHOWN)))];
}
