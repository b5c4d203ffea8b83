// Starts the page: language, surroundings, the view that the address names, and the stream of news.

import { onLoginWanted } from "./api.js";
import { buildControls, buildTabs, markTab, showBanners, showNews, showVerdict } from "./chrome.js";
import { setServerTime, serverNow, tick } from "./format.js";
import { loadLanguage, t, translateDocument } from "./i18n.js";
import { Live } from "./live.js";
import { loginForm } from "./login.js";
import { parseHash } from "./router.js";
import { staleness, trustworthy } from "./staleness.js";
import { setBelievable } from "./state.js";
import * as alarms from "./views/alarms.js";
import * as configuration from "./views/configuration.js";
import * as flow from "./views/flow.js";
import * as meter from "./views/meter.js";
import * as meters from "./views/meters.js";
import * as session from "./views/session.js";

const VIEWS = { flow, meters, meter, alarms, session, configuration };

const main = document.getElementById("main");
let view = null;
let overview = null;
let believable = false;
let loggingIn = false;
let first = true;

const live = new Live({
  overview: (news) => {
    overview = news;
    setServerTime(news.now);
    refresh();
    view?.update?.(overview);
  },
  alarm: () => view?.alarm?.(),
  link: refresh,
});

/** Show what the latest news, or their absence, mean for everything on the page. */
function refresh() {
  const now = trustworthy(overview, live.connected);
  const changed = now !== believable;
  believable = now;
  setBelievable(now);
  document.documentElement.dataset.news = live.connected ? (overview && !now ? "stopped" : "live") : "lost";
  showVerdict(overview, live.connected);
  showBanners(loggingIn ? [] : staleness(overview, live.connected, live.lastNews + serverNow() - Date.now(), serverNow()));
  showNews(overview);
  if (changed) view?.redraw?.();
}

function show() {
  if (loggingIn) return;
  const route = parseHash(location.hash);
  const name = route.view in VIEWS && route.view !== "meter" ? route.view : "flow";
  view?.close?.();
  view = VIEWS[name === "meters" && route.id ? "meter" : name].open(route);
  main.replaceChildren(view.element);
  markTab(name);
  document.title = `${view.title} – dlms-thingsboard`;
  if (!first) {
    main.querySelector("h1")?.focus({ preventScroll: true });
    scrollTo(0, 0);
  }
  first = false;
  if (overview) view.update?.(overview);
}

function askForToken() {
  if (loggingIn) return;
  loggingIn = true;
  view?.close?.();
  view = null;
  live.close();
  document.title = `${t("login.title")} – dlms-thingsboard`;
  main.replaceChildren(
    loginForm(() => location.reload()),
  );
  main.querySelector("input").focus();
  refresh();
}

async function speak(language = null) {
  await loadLanguage(language);
  translateDocument();
  buildTabs();
  buildControls(async (chosen) => {
    await speak(chosen);
    if (loggingIn) {
      loggingIn = false;
      askForToken();
    } else show();
    refresh();
    document.getElementById("language").focus();
  }, () => view?.theme?.());
}

document.querySelector(".skip-link").addEventListener("click", (event) => {
  event.preventDefault(); // the hash is the route
  (main.querySelector("h1") ?? main).focus();
});
addEventListener("hashchange", show);
onLoginWanted(askForToken);
await speak();
live.start();
show();
setInterval(() => {
  tick();
  refresh();
}, 1_000);
