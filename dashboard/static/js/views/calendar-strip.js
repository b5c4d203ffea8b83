// Intervals of the load profiles, a cell per day: full, in part, or missing; and the gaps as a list.

import { datum, el, svg } from "../dom.js";
import { emptyBox } from "../feed.js";
import { day, duration, moment, number, timeElement } from "../format.js";
import { t } from "../i18n.js";
import { sentence } from "../sentences.js";
import { term } from "../terms.js";

const SIZE = 18;
const STEP = 21;

/** Profiles {name, obis, period, days} and gaps of one meter. */
export function calendarStrip(profiles, gaps) {
  if (!profiles.length && !gaps.length) return emptyBox(t("intervals.empty"), t("intervals.empty.why"));
  return [...profiles.map(profileStrip), profiles.length ? legend() : null, gapList(gaps)].flat().filter(Boolean);
}

function profileStrip({ name, obis, period, days }) {
  const expected = days.reduce((sum, each) => sum + (each.expected ?? 0), 0);
  const read = days.reduce((sum, each) => sum + each.read, 0);
  const missing = days.reduce((sum, each) => sum + (each.missing ?? 0), 0);
  const said = t("intervals.summary", { read: number(read), expected: number(expected), missing: number(missing) });
  const head = el("h3", {}, datum(name), " ", el("span", { class: "secondary" }, datum(obis ?? ""), period ? `, ${t("intervals.period", { period: duration(period) })}` : ""));
  if (!days.length) return el("div", { class: "profile" }, head, el("p", { text: t("intervals.none-yet") }));
  const drawing = svg("svg", { class: "calendar", role: "img", "aria-label": said, viewBox: `0 0 ${days.length * STEP} ${SIZE + 16}`, width: days.length * STEP, height: SIZE + 16 }, days.map((each, index) => cell(each, index * STEP, index)));
  return el("div", { class: "profile" }, head, el("p", { class: "hint", text: said }), el("div", { class: "scroller to-end", tabindex: "0", role: "region", "aria-label": t("intervals.of", { profile: name }) }, drawing));
}

/** How much of a day was read: full, part, none, or future (nothing expected). */
export function fullness({ expected, read, missing }) {
  if (!expected && !read) return "future";
  if (read === 0 && (missing || expected)) return "none";
  return missing ? "part" : "full";
}

function cell(each, x, index) {
  const kind = fullness(each);
  const filled = each.expected ? Math.max(2, Math.min(SIZE - 2, (SIZE * each.read) / each.expected)) : 0;
  const date = Number(each.day.slice(8));
  return svg(
    "g",
    { class: `day ${kind}`, transform: `translate(${x} 0)`, "data-day": each.day, "data-fullness": kind },
    svg("title", {}, t("intervals.day", { day: day(each.day), read: number(each.read), expected: number(each.expected ?? 0), missing: number(each.missing ?? 0) })),
    svg("rect", { class: "day-ground", x: 0.5, y: 0.5, width: SIZE - 1, height: SIZE - 1, rx: 3 }),
    kind === "full" ? svg("path", { class: "day-mark", d: "M4.5 9.5l3 3 6-6.5" }) : null,
    kind === "part" ? svg("rect", { class: "day-part", x: 1, y: SIZE - filled, width: SIZE - 2, height: filled - 1, rx: 2 }) : null,
    kind === "none" ? svg("path", { class: "day-mark", d: "M5 5l8 8M13 5l-8 8" }) : null,
    date === 1 || index === 0 || date % 5 === 0 ? svg("text", { x: SIZE / 2, y: SIZE + 12, "text-anchor": "middle" }, String(date)) : null,
  );
}

function legend() {
  const kinds = { full: { expected: 2, read: 2, missing: 0 }, part: { expected: 2, read: 1, missing: 1 }, none: { expected: 2, read: 0, missing: 2 } };
  return el("ul", { class: "legend" }, Object.entries(kinds).map(([kind, counts]) => el("li", {}, svg("svg", { viewBox: `0 0 ${SIZE} ${SIZE}`, width: 14, height: 14, "aria-hidden": "true" }, plain(cell({ day: "2000-01-02", ...counts }, 0, 1))), el("span", { text: t(`intervals.${kind}`) }))));
}

function plain(group) {
  group.querySelector("title").remove();
  group.removeAttribute("data-day");
  return group;
}

function gapList(gaps) {
  if (!gaps.length) return el("p", { class: "hint", text: t("gaps.none") });
  const columns = ["state", "profile", "from", "to", "intervals", "since", "reason"];
  const cells = (gap) => [
    term("gap", gap.state, { class: `gap-state ${gap.state}` }),
    datum(gap.profile),
    el("time", { datetime: gap.start, text: moment(gap.start) }),
    el("time", { datetime: gap.end, text: moment(gap.end) }),
    number(gap.intervals),
    timeElement(gap.since),
    sentence(gap.reason),
  ];
  return [
    el("h3", { text: t("gaps.title") }),
    el("div", { class: "scroller", tabindex: "0", role: "region", "aria-label": t("gaps.title") }, el("table", { class: "grid stack", role: "table" }, el("thead", { role: "rowgroup" }, el("tr", { role: "row" }, columns.map((name) => el("th", { role: "columnheader", scope: "col", text: t(`gaps.column.${name}`) })))), el("tbody", { role: "rowgroup" }, gaps.map((gap) => el("tr", { role: "row" }, cells(gap).map((content, index) => el("td", { role: "cell", "data-column": t(`gaps.column.${columns[index]}`) }, content))))))),
  ];
}
