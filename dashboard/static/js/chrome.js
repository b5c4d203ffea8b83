// What surrounds every view: tabs, verdict, banners, the line of last news, language and theme.

import { el, setText, svg } from "./dom.js";
import { clock, number } from "./format.js";
import { LANGUAGES, currentLanguage, t, tOr } from "./i18n.js";
import { remember, remembered } from "./remembered.js";
import { severityLabel, stateLabel } from "./state.js";

const TABS = [
  ["flow", "M2 5h6v5H2zM16 3h6v5h-6zM16 16h6v5h-6zM8 7.5h4c2 0 2-2 4-2M8 7.5h3c4 0 1 11 5 11"],
  ["meters", "M4 20a10 10 0 1 1 16 0zM12 14l4-6M12 3v3M3 13h3M18 13h3"],
  ["alarms", "M6 17V11a6 6 0 0 1 12 0v6l2 2H4zM10 21h4M12 2v3"],
  ["session", "M7 18a4 4 0 0 1-.5-8A6 6 0 0 1 18 9a4.5 4.5 0 0 1 0 9M12 21v-9M8.5 15.5 12 12l3.5 3.5"],
  ["configuration", "M5 2h10l4 4v16H5zM9 10h6M9 14h6M9 18h4"],
];

/** The tabs, in the current language. */
export function buildTabs() {
  document.getElementById("tabs").replaceChildren(
    ...TABS.map(([view, drawing]) =>
      el(
        "li",
        {},
        el(
          "a",
          { href: `#/${view}`, data: { view } },
          svg("svg", { viewBox: "0 0 24 24", class: "icon", "aria-hidden": "true", focusable: "false" }, svg("path", { d: drawing })),
          el("span", { class: "tab-name", text: t(`view.${view}`) }),
          el("span", { class: "badge", hidden: true }),
        ),
      ),
    ),
  );
}

export function markTab(view) {
  for (const link of document.querySelectorAll("#tabs a")) {
    if (link.dataset.view === view) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
}

/** Selects for language and theme; `languageChosen` gets the language. */
export function buildControls(languageChosen, themeChosen) {
  const language = document.getElementById("language");
  language.replaceChildren(...Object.entries(LANGUAGES).map(([code, name]) => el("option", { value: code, text: name, lang: code, translate: "no" })));
  language.value = currentLanguage();
  language.onchange = () => languageChosen(language.value);
  const theme = document.getElementById("theme");
  theme.replaceChildren(...["auto", "light", "dark"].map((value) => el("option", { value, text: t(`theme.${value}`) })));
  theme.value = ["light", "dark"].includes(remembered("theme")) ? remembered("theme") : "auto";
  theme.onchange = () => {
    remember("theme", theme.value);
    if (theme.value === "auto") delete document.documentElement.dataset.theme;
    else document.documentElement.dataset.theme = theme.value;
    themeChosen();
  };
  matchMedia("(prefers-color-scheme: dark)").onchange = themeChosen;
}

/** Verdict and number of alarms. */
export function showVerdict(overview, connected) {
  const verdict = document.getElementById("verdict");
  const worst = overview?.flow?.running ? overview.verdict : "critical";
  const label = connected && overview ? severityLabel(worst, tOr(`verdict.${worst}`, worst)) : stateLabel("unknown");
  if (verdict.textContent !== label.textContent) verdict.replaceChildren(label);
  const standing = Object.values(overview?.alarms ?? {}).reduce((sum, count) => sum + count, 0);
  const badge = document.querySelector('#tabs a[data-view="alarms"] .badge');
  badge.hidden = standing === 0;
  if (!badge.hidden && badge.dataset.count !== String(standing)) {
    badge.dataset.count = String(standing);
    badge.replaceChildren(el("span", { text: number(standing) }), el("span", { class: "visually-hidden", text: ` ${t("alarms.standing-count")}` }));
  }
}

let shownBanners = "";

/** Banners of `staleness`; the element is an alert, so it changes only when what it says does. */
export function showBanners(banners) {
  const parts = banners.map(({ key, since, level }) => ({ level, text: t(`banner.${key}`, { since: since ? clock(since) : t("never") }), remedy: t(`banner.${key}.remedy`) }));
  const said = JSON.stringify(parts);
  if (said === shownBanners) return;
  shownBanners = said;
  document.getElementById("banners").replaceChildren(
    ...parts.map(({ level, text, remedy }) =>
      el("div", { class: `banner ${level}` }, severityLabel(level, text), el("span", { class: "remedy", text: remedy })),
    ),
  );
}

/** When the last news came. */
export function showNews(overview) {
  setText(document.getElementById("news"), overview ? t("last-news", { time: clock(overview.now) }) : t("no-news"));
}
