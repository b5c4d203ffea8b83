// One key of one meter over time.

import { ApiError } from "../api.js";
import { el, setText } from "../dom.js";
import { Feed, errorBox } from "../feed.js";
import { clock, quantity, serverNow } from "../format.js";
import { currentLanguage, t } from "../i18n.js";
import { replaceParameters } from "../router.js";

const SPANS = { "1h": 3_600, "24h": 86_400, "7d": 604_800, "30d": 2_592_000 };
const HEIGHT = 280;

export class ChartPanel {
  constructor(meter, values, { key, span }) {
    this.meter = meter;
    const keys = values.map((value) => value.key);
    this.key = keys.includes(key) ? key : newestNumber(values).key;
    this.span = span in SPANS ? span : "1h";
    this.keys = el("select", { id: "chart-key", translate: "no", on: { change: () => this.choose({ key: this.keys.value }) } }, keys.map((each) => el("option", { value: each, text: each })));
    this.keys.value = this.key;
    this.plot = el("div", { class: "plot" });
    this.said = el("p", { class: "hint" });
    this.element = el(
      "section",
      { class: "card chart", "aria-label": t("chart.label") },
      el(
        "div",
        { class: "toolbar" },
        el("h2", { text: t("chart.title") }),
        el("div", { class: "field inline" }, el("label", { for: "chart-key", text: t("chart.key") }), this.keys),
        el("div", { class: "chips", role: "radiogroup", "aria-label": t("chart.span") }, Object.keys(SPANS).map((each) => el("label", { class: "chip" }, el("input", { type: "radio", name: "span", value: each, class: "visually-hidden", checked: each === this.span, on: { change: () => this.choose({ span: each }) } }), el("span", { text: t(`chart.span.${each}`) })))),
      ),
      this.plot,
      this.said,
    );
    this.feed = new Feed({ path: "/readings", parameters: this.parameters(), every: 10, show: (answer) => this.show(answer), fail: (error) => this.clear(errorBox(error, () => this.choose({}))) });
    this.resizing = new ResizeObserver(() => this.chart?.setSize({ width: this.plot.clientWidth, height: HEIGHT }));
    this.resizing.observe(this.plot);
  }

  close() {
    this.feed.close();
    this.resizing.disconnect();
    this.chart?.destroy();
  }

  choose(changes) {
    Object.assign(this, changes);
    replaceParameters({ key: this.key, span: this.span });
    this.clear();
    this.feed.load(this.parameters());
  }

  parameters() {
    const to = serverNow();
    return { meter: this.meter, key: this.key, start: new Date(to - SPANS[this.span] * 1000).toISOString(), end: new Date(to).toISOString(), limit: "2000" };
  }

  async show(answer) {
    this.feed.parameters = this.parameters(); // the span moves on with the time
    this.answer = answer;
    try {
      this.uPlot ??= (await import("../../vendor/uplot/uPlot.esm.js")).default;
    } catch {
      this.clear(errorBox(new ApiError(0, ""), () => this.show(answer)));
      return;
    }
    if (this.feed.closed.signal.aborted || this.answer !== answer) return;
    const points = answer.points.filter(([, value]) => typeof value === "number");
    if (!points.length) {
      this.clear(el("p", { class: "notice", text: t(answer.points.length ? "chart.no-numbers" : "chart.empty") }));
      return;
    }
    if (this.chart && this.drawnUnit === answer.unit) this.chart.setData(columns(answer.points));
    else this.draw();
    this.describe(points, answer);
  }

  /** Draw anew, in the colours of the theme. */
  draw() {
    if (!this.answer?.points.length || !this.uPlot) return;
    this.clear();
    const style = getComputedStyle(document.documentElement);
    const colour = (name) => style.getPropertyValue(name).trim();
    const axis = { stroke: colour("--ink-2"), grid: { stroke: colour("--line"), width: 1 }, ticks: { stroke: colour("--line"), width: 1 }, font: "12px system-ui, sans-serif" };
    this.drawnUnit = this.answer.unit;
    this.chart = new this.uPlot(
      {
        width: this.plot.clientWidth,
        height: HEIGHT,
        scales: { x: { time: true, range: () => [(serverNow() - SPANS[this.span] * 1000) / 1000, serverNow() / 1000] } },
        legend: { live: true },
        cursor: { drag: { x: false, y: false } },
        axes: [{ ...axis, values: (_, ticks) => ticks.map((tick) => this.tickText(tick)), space: 70 }, { ...axis, size: 64, values: (_, ticks) => ticks.map((tick) => quantity(tick)) }],
        series: [
          { label: t("chart.time"), value: (_, at) => (at ? clock(at * 1000) : "–") },
          { label: `${this.key}${this.answer.unit ? ` (${this.answer.unit})` : ""}`, stroke: colour("--accent"), width: 1.8, points: { show: this.answer.points.length < 80, size: 5 }, value: (_, value) => quantity(value) },
        ],
      },
      columns(this.answer.points),
      this.plot,
    );
  }

  tickText(seconds) {
    const options = SPANS[this.span] <= 86_400 ? { hour: "2-digit", minute: "2-digit" } : { day: "numeric", month: "short" };
    return new Intl.DateTimeFormat(currentLanguage(), options).format(new Date(seconds * 1000));
  }

  clear(...content) {
    this.chart?.destroy();
    this.chart = null;
    this.plot.replaceChildren(...content);
    setText(this.said, "");
  }

  describe(points, { unit, thinned }) {
    const numbers = points.map(([, value]) => value);
    const text = t("chart.summary", {
      key: this.key,
      unit: unit ?? "",
      count: points.length,
      points: points.length,
      least: quantity(numbers.reduce((a, b) => Math.min(a, b))),
      most: quantity(numbers.reduce((a, b) => Math.max(a, b))),
      last: quantity(numbers.at(-1)),
      at: clock(points.at(-1)[0]),
    });
    setText(this.said, thinned ? `${text} ${t("chart.thinned")}` : text);
  }
}

/** What is drawn until the reader chooses: of the values read last the first number. */
function newestNumber(values) {
  const numbers = values.filter(({ value }) => typeof value === "number");
  const newest = Math.max(...numbers.map(({ ts }) => Date.parse(ts)));
  return numbers.find(({ ts }) => Date.parse(ts) === newest) ?? values[0];
}

/** Points [ms, value] as uPlot takes them: seconds and values, where a text is a hole. */
function columns(points) {
  return [points.map(([at]) => at / 1000), points.map(([, value]) => (typeof value === "number" ? value : null))];
}
