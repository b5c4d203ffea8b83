// All meters, a page at a time: the server searches, sorts and filters, so that ten thousand cost no more than fifty.

import { datum, el, reconcile, setText } from "../dom.js";
import { Feed, emptyBox, errorBox, loadingBox } from "../feed.js";
import { duration, number, percent, quantity, timeElement } from "../format.js";
import { t } from "../i18n.js";
import { hashOf, replaceParameters } from "../router.js";
import { bothWays, sentence } from "../sentences.js";
import { effective, stateLabel, stateShape } from "../state.js";

const COLUMNS = [
  { name: "id", sort: "id" },
  { name: "state", sort: "state" },
  { name: "values" },
  { name: "success", sort: "success", number: true },
  { name: "read_time", sort: "read_time", number: true },
  { name: "last_good", sort: "last_good" },
  { name: "gaps", sort: "gaps", number: true },
  { name: "last_error" },
];
const SORTS = COLUMNS.filter((column) => column.sort).flatMap(({ sort }) => [sort, `-${sort}`]);
const LIMITS = [25, 50, 100, 200];
const VALUES_SHOWN = 3;

export function open(route) {
  return new MetersView(route.parameters);
}

class MetersView {
  constructor({ search = "", state = "", sort = "id", offset = "0", limit = "" }) {
    this.usualLimit = matchMedia("(max-width: 700px)").matches ? 25 : 50;
    this.title = t("view.meters");
    this.query = { search, state, sort: SORTS.includes(sort) ? sort : "id", offset: Math.max(0, Number.parseInt(offset, 10) || 0), limit: LIMITS.includes(Number(limit)) ? Number(limit) : this.usualLimit };
    this.body = el("tbody", { role: "rowgroup" });
    this.head = el("tr", { role: "row" });
    this.table = el("table", { class: "grid meters", role: "table", "aria-label": t("view.meters") }, el("thead", { role: "rowgroup" }, this.head), this.body);
    this.place = el("div", {}, loadingBox());
    this.count = el("p", { class: "count", role: "status" });
    this.pages = el("nav", { class: "pages", "aria-label": t("pages.label") });
    this.filters = el("div", { class: "chips", role: "radiogroup", "aria-label": t("meters.filter") });
    this.element = el(
      "div",
      { class: "view" },
      el("h1", { tabindex: "-1", text: this.title }),
      el("div", { class: "toolbar" }, this.searchField(), this.filters, this.sortField()),
      this.place,
      el("div", { class: "below" }, this.count, this.pages, this.limitField()),
    );
    this.showFilters(null);
    this.showHead();
    this.feed = new Feed({ path: "/meters", parameters: this.parameters(), every: 5, show: (answer) => this.show(answer), fail: (error) => this.place.replaceChildren(errorBox(error, () => this.feed.load())) });
  }

  update(overview) {
    this.showFilters(overview.meters);
    if (overview.window?.end !== this.window) {
      if (this.window !== undefined) this.feed.refresh();
      this.window = overview.window?.end;
    }
  }

  redraw() {
    this.body.elementsByKey = new Map();
    this.body.replaceChildren();
    if (this.answer) this.show(this.answer);
    this.showFilters(this.counts);
  }

  close() {
    this.feed.close();
    clearTimeout(this.typing);
  }

  parameters() {
    return { ...this.query, offset: String(this.query.offset), limit: String(this.query.limit) };
  }

  /** Another search, filter, order or page; from the first page unless a page was asked for. */
  ask(changes) {
    this.query = { ...this.query, offset: 0, ...changes };
    const { search, state, sort, offset, limit } = this.query;
    replaceParameters({ search, state, sort: sort === "id" ? "" : sort, offset: offset || "", limit: limit === this.usualLimit ? "" : limit });
    this.showHead();
    this.sort.value = sort;
    this.showFilters(this.counts);
    this.feed.load(this.parameters());
  }

  show(answer) {
    this.answer = answer;
    const { total, offset, meters } = answer;
    if (!meters.length && total && offset) return this.ask({ offset: Math.floor((total - 1) / this.query.limit) * this.query.limit });
    const filtered = this.query.search || this.query.state;
    if (!meters.length) this.place.replaceChildren(filtered ? emptyBox(t("meters.nothing-found"), t("meters.nothing-found.why")) : emptyBox(t("meters.empty"), t("meters.empty.why")));
    else if (!this.table.isConnected) this.place.replaceChildren(el("div", { class: "scroller card flush" }, this.table));
    reconcile(this.body, meters, (meter) => meter.id, () => this.row(), (row, meter) => this.fillRow(row, meter));
    setText(this.count, meters.length ? t("meters.range", { from: number(offset + 1), to: number(offset + meters.length), total: number(total) }) : "");
    this.showPages(total, offset);
    return undefined;
  }

  row() {
    return el("tr", { role: "row" }, COLUMNS.map(({ name, number: numeric }, index) => el(index ? "td" : "th", { role: index ? "cell" : "rowheader", scope: index ? null : "row", class: numeric ? `number col-${name}` : `col-${name}`, "data-column": t(`meters.column.${name}`) })));
  }

  fillRow(row, meter) {
    const said = JSON.stringify(meter);
    if (row.said === said) return;
    row.said = said;
    row.dataset.state = effective(meter.state);
    const cells = [
      [el("a", { href: hashOf("meters", meter.id) }, datum(meter.id)), meter.name && meter.name !== meter.id ? datum(meter.name, { class: "secondary" }) : null, meter.removed ? el("span", { class: "tag", text: t("meters.removed") }) : null],
      [stateLabel(meter.state)],
      [values(meter.values ?? [])],
      [percent(meter.success)],
      [duration(meter.read_p50), meter.read_p95 === null || meter.read_p95 === undefined ? null : el("span", { class: "secondary", text: t("meters.p95", { time: duration(meter.read_p95) }) })],
      [timeElement(meter.last_good, true)],
      [number(meter.gaps_open), meter.gaps_lost ? el("span", { class: "secondary", text: t("meters.lost", { n: number(meter.gaps_lost) }) }) : null],
      [meter.last_error ? sentence(meter.last_error, { class: "error-text", title: bothWays(meter.last_error) }) : "–"],
    ];
    row.lastChild.toggleAttribute("data-empty", !meter.last_error);
    cells.forEach((content, index) => row.children[index].replaceChildren(...content.filter((part) => part !== null)));
  }

  showHead() {
    const [key, descending] = this.query.sort.startsWith("-") ? [this.query.sort.slice(1), true] : [this.query.sort, false];
    if (!this.head.firstChild) {
      this.head.append(
        ...COLUMNS.map(({ name, sort, number: numeric }) =>
          el("th", { role: "columnheader", scope: "col", class: numeric ? `number col-${name}` : `col-${name}`, data: { sort: sort ?? "" } }, sort ? el("button", { type: "button", class: "sort", on: { click: () => this.sortBy(sort) } }, el("span", { text: t(`meters.column.${name}`) }), el("span", { class: "sort-mark", "aria-hidden": "true" })) : t(`meters.column.${name}`)),
        ),
      );
    }
    for (const cell of this.head.children) {
      if (!cell.dataset.sort) continue;
      const sorted = cell.dataset.sort === key;
      cell.setAttribute("aria-sort", sorted ? (descending ? "descending" : "ascending") : "none");
      cell.querySelector(".sort-mark").textContent = sorted ? (descending ? "▼" : "▲") : "";
    }
  }

  sortBy(key) {
    this.ask({ sort: this.query.sort === key ? `-${key}` : key });
  }

  searchField() {
    const field = el("input", { type: "search", id: "search", value: this.query.search, autocomplete: "off", spellcheck: "false", placeholder: t("meters.search.hint") });
    field.addEventListener("input", () => {
      clearTimeout(this.typing);
      this.typing = setTimeout(() => this.ask({ search: field.value.trim() }), 250);
    });
    return el("div", { class: "field search" }, el("label", { for: "search", text: t("meters.search") }), field);
  }

  sortField() {
    this.sort = el("select", { id: "sort", on: { change: () => this.ask({ sort: this.sort.value }) } }, SORTS.map((sort) => el("option", { value: sort, text: `${t(`meters.column.${sort.replace("-", "")}`)} ${sort.startsWith("-") ? "▼" : "▲"}` })));
    this.sort.value = this.query.sort;
    return el("div", { class: "field narrow-only" }, el("label", { for: "sort", text: t("meters.sort") }), this.sort);
  }

  limitField() {
    const limit = el("select", { id: "limit", on: { change: () => this.ask({ limit: Number(limit.value) }) } }, LIMITS.map((count) => el("option", { value: count, text: number(count) })));
    limit.value = String(this.query.limit);
    return el("div", { class: "field inline" }, el("label", { for: "limit", text: t("pages.limit") }), limit);
  }

  showFilters(counts) {
    this.counts = counts;
    if (!this.filters.firstChild) {
      this.filters.append(
        ...["", "green", "yellow", "red", "unknown"].map((state) =>
          el("label", { class: "chip" }, el("input", { type: "radio", name: "state", value: state, class: "visually-hidden", on: { change: () => this.ask({ state }) } }), state ? stateShape(state) : null, el("span", { text: t(state ? `state.${state}` : "meters.all") }), el("span", { class: "chip-count" })),
        ),
      );
    }
    for (const chip of this.filters.children) {
      const input = chip.querySelector("input");
      input.checked = input.value === this.query.state;
      setText(chip.querySelector(".chip-count"), counts ? number(input.value ? counts[input.value] : counts.total) : "");
    }
  }

  showPages(total, offset) {
    const { limit } = this.query;
    const last = Math.max(0, Math.ceil(total / limit) - 1);
    const page = Math.floor(offset / limit);
    const said = `${page}/${last}`;
    if (this.pages.dataset.said === said) return;
    this.pages.dataset.said = said;
    this.pages.hidden = last === 0;
    const focused = this.pages.contains(document.activeElement) ? document.activeElement.dataset.go : null;
    const to = (name, target, text) => el("button", { type: "button", class: "button small", disabled: target < 0 || target > last || target === page, "aria-label": t(`pages.${name}`), text, data: { go: name }, on: { click: () => this.ask({ offset: target * limit }) } });
    this.pages.replaceChildren(to("first", 0, "«"), to("previous", page - 1, "‹"), el("span", { text: t("pages.of", { page: number(page + 1), pages: number(last + 1) }) }), to("next", page + 1, "›"), to("last", last, "»"));
    if (focused) (this.pages.querySelector(`[data-go="${focused}"]:not(:disabled)`) ?? this.pages.querySelector("button:not(:disabled)"))?.focus();
  }
}

function values(all) {
  const shown = all.slice(0, VALUES_SHOWN);
  return el("ul", { class: "values" }, shown.map(({ key, value, unit }) => el("li", {}, datum(key, { class: "key" }), " ", datum(quantity(value), { class: "value" }), unit ? datum(` ${unit}`) : null)), all.length > shown.length ? el("li", { class: "secondary", text: t("meters.more-values", { n: number(all.length - shown.length) }) }) : null);
}
