// News from the server, and the knowledge that there is none.
//
// Server-sent events are read with fetch instead of EventSource, which hides the server's status code and its keep-alive
// comments: both are needed to tell "nothing changed" from "nobody there". When the stream is silent the overview is asked
// for; only an answer counts as news.

import { get } from "./api.js";

const SILENCE_MS = 7_000; // without a byte: ask
const LOST_MS = 12_000; // without an answer either: say so
const STREAM_DEAD_MS = 40_000; // two keep-alives missed: open another stream
const HIDDEN_MS = 60_000; // a tab that nobody looks at gives its connection back
const RETRY_MS = [500, 1_000, 2_000, 4_000, 8_000];

export class Live {
  /** Callbacks: overview(json), alarm(json), link(connected). */
  constructor(callbacks) {
    this.callbacks = callbacks;
    this.connected = true;
    this.lastNews = Date.now();
    this.lastBytes = 0;
    this.attempt = 0;
    this.asking = false;
    this.stream = null;
  }

  start() {
    this.ask();
    this.open();
    setInterval(() => this.watch(), 1_000);
    document.addEventListener("visibilitychange", () => this.seen());
    addEventListener("online", () => this.restart());
    addEventListener("offline", () => this.watch(true));
  }

  /** Open the stream anew at once, for instance after a login. */
  restart() {
    this.stream?.abort();
    clearTimeout(this.retry);
    this.attempt = 0;
    this.ask();
    this.open();
  }

  seen() {
    clearTimeout(this.hiding);
    if (document.hidden) this.hiding = setTimeout(() => this.close(), HIDDEN_MS);
    else if (!this.stream) this.restart();
  }

  close() {
    clearTimeout(this.retry);
    this.stream?.abort();
    this.stream = null;
  }

  async open() {
    const stream = new AbortController();
    this.stream = stream;
    this.lastBytes = Date.now();
    try {
      const response = await fetch("/events", { headers: { Accept: "text/event-stream" }, cache: "no-store", signal: stream.signal });
      if (!response.ok) throw new Error(String(response.status));
      await this.read(response.body.getReader());
    } catch {
      // ended one way or another
    }
    if (this.stream !== stream || stream.signal.aborted) return;
    const wait = RETRY_MS[Math.min(this.attempt++, RETRY_MS.length - 1)];
    this.retry = setTimeout(() => this.open(), wait);
    this.ask();
  }

  async read(reader) {
    const decoder = new TextDecoder();
    let buffer = "";
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return;
      this.lastBytes = Date.now();
      this.attempt = 0;
      this.news();
      buffer = (buffer + decoder.decode(value, { stream: true })).replace(/\r\n?/g, "\n");
      for (let end = buffer.indexOf("\n\n"); end >= 0; end = buffer.indexOf("\n\n")) {
        this.dispatch(buffer.slice(0, end));
        buffer = buffer.slice(end + 2);
      }
    }
  }

  dispatch(block) {
    let name = "message";
    const data = [];
    for (const line of block.split("\n")) {
      if (line.startsWith("event:")) name = line.slice(6).trim();
      else if (line.startsWith("data:")) data.push(line.slice(5).trimStart());
    }
    if (!data.length) return;
    let content;
    try {
      content = JSON.parse(data.join("\n"));
    } catch {
      return; // cut in the middle
    }
    if (name === "overview") this.callbacks.overview(content);
    else if (name === "alarm") this.callbacks.alarm(content);
  }

  news() {
    this.lastNews = Date.now();
    this.setConnected(true);
  }

  setConnected(connected) {
    if (connected === this.connected) return;
    this.connected = connected;
    this.callbacks.link(connected);
  }

  watch(offline = false) {
    if (!this.stream) return;
    const silent = Date.now() - this.lastNews;
    if (silent > SILENCE_MS) this.ask();
    if (offline || silent > LOST_MS) this.setConnected(false);
    if (this.stream && Date.now() - this.lastBytes > STREAM_DEAD_MS) this.restart();
  }

  async ask() {
    if (this.asking) return;
    this.asking = true;
    try {
      const overview = await get("/overview");
      this.news();
      this.callbacks.overview(overview);
    } catch (error) {
      if (error.status === 0) this.setConnected(false);
    } finally {
      this.asking = false;
    }
  }
}
