// pipeline.yaml as it was loaded, with secrets masked and line numbers to talk about.

import { datum, el } from "../dom.js";
import { Feed, emptyBox, errorBox, loadingBox } from "../feed.js";
import { t } from "../i18n.js";
import { replaceParameters } from "../router.js";

export function open(route) {
  return new ConfigurationView(Number(route.parameters.line) || null);
}

class ConfigurationView {
  constructor(line) {
    this.title = t("view.configuration");
    this.line = line;
    this.body = el("div", {}, loadingBox());
    this.element = el("div", { class: "view" }, el("h1", { tabindex: "-1", text: this.title }), el("p", { class: "hint", text: t("configuration.hint") }), this.body);
    this.feed = new Feed({ path: "/config", every: 30, show: (answer) => this.show(answer), fail: (error) => this.body.replaceChildren(errorBox(error, () => this.feed.load())) });
  }

  close() {
    this.feed.close();
  }

  show({ file, text }) {
    if (text === this.text) return;
    this.text = text;
    if (!text?.trim()) {
      this.body.replaceChildren(emptyBox(t("configuration.empty"), null));
      return;
    }
    const lines = text.replace(/\n$/, "").split("\n");
    this.body.replaceChildren(
      el("section", { class: "card flush" }, el("h2", { class: "file-name" }, datum(file)), el("div", { class: "scroller source", tabindex: "0", role: "region", "aria-label": t("configuration.label") }, el("table", { class: "lines", role: "presentation", translate: "no" }, el("tbody", {}, lines.map((line, index) => this.row(line, index + 1)))))),
    );
    this.body.querySelector("tr.chosen")?.scrollIntoView({ block: "center" });
  }

  row(line, place) {
    const link = el("a", { href: `#/configuration?line=${place}`, text: String(place), "aria-label": t("configuration.line", { n: place }), tabindex: "-1" });
    link.addEventListener("click", (event) => {
      event.preventDefault();
      replaceParameters({ line: place });
      this.body.querySelector("tr.chosen")?.classList.remove("chosen");
      row.classList.add("chosen");
    });
    const row = el("tr", { id: `line-${place}`, class: place === this.line ? "chosen" : null }, el("td", { class: "line-number" }, link), el("td", { class: "line" }, coloured(line)));
    return row;
  }
}

/** Key, value and comment of one line of YAML, told apart as well as one line can be. */
export function coloured(line) {
  const comment = line.match(/(^|\s)#.*$/);
  const code = comment ? line.slice(0, comment.index + comment[1].length) : line;
  const key = code.match(/^(\s*(?:- )?\s*)([\w."*\/-]+)(:)(?=\s|$)/);
  const parts = key ? [key[1], el("span", { class: "yaml-key", text: key[2] }), code.slice(key[1].length + key[2].length)] : [code];
  if (comment) parts.push(el("span", { class: "yaml-comment", text: line.slice(code.length) }));
  return parts.filter((part) => part !== "");
}
