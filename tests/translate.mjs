// Translates texts as the page does. stdin: {"source": catalogue.js, "entries": {...}, "texts": [...]}; stdout: their parts.
import { readFileSync } from "node:fs";

const { source, entries, texts } = JSON.parse(readFileSync(0, "utf8"));
const { Catalogue } = await import(`data:text/javascript,${encodeURIComponent(source)}`);
const catalogue = new Catalogue(entries);
process.stdout.write(JSON.stringify(texts.map((text) => catalogue.translate(text))));
