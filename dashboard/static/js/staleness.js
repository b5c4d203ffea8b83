// What must be said before anybody believes the numbers. Pure: the same answer for the same overview and time.

const WINDOWS_MISSED = 3;
const LEAST_MS = 30_000;

/** How long after its end a window counts as the latest news of a running flow, ms. */
export function windowLifetime(window) {
  return Math.max(WINDOWS_MISSED * (Date.parse(window.end) - Date.parse(window.start)), LEAST_MS);
}

/** Banners as {key, since, level}, worst first: lost, not-running, no-report. */
export function staleness(overview, connected, lastNews, now) {
  if (!connected) return [{ key: "lost", since: new Date(lastNews).toISOString(), level: "critical" }];
  if (!overview) return [];
  if (!overview.flow?.running) {
    const signs = (overview.flow?.processes ?? []).map((process) => process.written).filter(Boolean).sort();
    return [{ key: signs.length ? "not-running" : "never-ran", since: signs.at(-1) ?? null, level: "critical" }];
  }
  const { window, flow } = overview;
  if (window && now - Date.parse(window.end) > windowLifetime(window) && startedLongerThan(flow, windowLifetime(window), now)) {
    return [{ key: "no-report", since: window.end, level: "warning" }];
  }
  return [];
}

/** Whether a colour may be shown as the truth of now. */
export function trustworthy(overview, connected) {
  return Boolean(connected && overview?.flow?.running);
}

function startedLongerThan(flow, ms, now) {
  return !flow.started || now - Date.parse(flow.started) > ms;
}
