// Sentences that the flow says in English, in the reader's language: English templates with holes and their translations, as
// gettext's msgid and msgstr. {name} holds data and stays as it is, {#name} a number or a time, {@name} one word, {*name} what is a
// sentence itself.
//
// Pure: nothing here touches the page. What fits no template stays as it was said.

const HOLE = /(?<!\$)\{([#*@]?)(\w+)\}/;
const LEADING = "((?:(?!; |: | \\().)+?)"; // data that a sentence begins with; what stands before a colon is a label
const PATTERNS = { "": "((?:(?!; | \\().)+?)", "#": "([-+]?\\d[\\d.,:T+-]*Z?(?: ?%)?)", "@": "(\\S+?)", "*": "(.+?)" };
const DEEPEST = 10; // a finding holds an alarm's evidence, which holds a meter's last error, which holds a reason, and so on
const LONGEST = 4_000; // characters; nothing the flow says is longer
const MOST_CLAUSES = 5; // of one template
const REMEMBERED = 1_000;

/** Templates of one language, compiled once. */
export class Catalogue {
  /** :arg entries: English template -> translation, with the same holes. */
  constructor(entries) {
    this.exact = new Map();
    this.byWord = new Map();
    this.byLaterWord = new Map(); // those that begin with a hole, by a word that they have for certain
    this.others = [];
    this.memory = new Map();
    for (const [english, translation] of Object.entries(entries)) this.add(english, translation);
  }

  /**
   * A text in parts, in their order: {text, translated}. What is data, such as an address, belongs to the part around it; a part
   * that is not translated is one that was meant to be understood.
   */
  translate(text) {
    if (text.length > LONGEST) return [{ text, translated: false }];
    const known = this.memory.get(text);
    if (known) return known;
    this.tried = new Map();
    const parts = merged(this.parts(text, 0) ?? this.named(text) ?? [{ text, translated: isData(text) ? null : false }]);
    if (this.memory.size >= REMEMBERED) this.memory.clear();
    this.memory.set(text, parts);
    return parts;
  }

  add(english, translation) {
    const pieces = english.split(new RegExp(HOLE, "g"));
    const literals = pieces.filter((_, index) => index % 3 === 0);
    if (literals.length === 1) {
      this.exact.set(english, translation);
      return;
    }
    const holes = literals.slice(1).map((_, index) => ({ kind: pieces[3 * index + 1], name: pieces[3 * index + 2] }));
    const pattern = (index) => (index === 0 && !literals[0] && !holes[0].kind ? LEADING : PATTERNS[holes[index].kind]);
    const source = literals.map((literal, index) => escaped(literal) + (index < holes.length ? pattern(index) : "")).join("");
    const target = translation.split(new RegExp(HOLE, "g"));
    const template = { english, literals, holes, pattern: new RegExp(`^${source}$`, "s"), target, weight: weightOf(literals, holes) };
    const word = /^\S+(?= )/.exec(literals[0])?.[0];
    const later = literals.slice(1).map((literal) => / (\S+) /.exec(literal)?.[1] ?? "").sort((a, b) => b.length - a.length)[0];
    if (word !== undefined) into(this.byWord, word, template);
    else if (later) into(this.byLaterWord, later, template);
    else this.others.push(template);
  }

  /** The parts of a text, or null where no part of it is in any template. */
  parts(text, depth) {
    if (depth > DEEPEST || !text.trim()) return null;
    if (!this.tried.has(text)) this.tried.set(text, this.best(text, depth));
    return this.tried.get(text);
  }

  /** Of the ways to understand a text the one that leaves the least in English. */
  best(text, depth) {
    let [best, least] = [null, Infinity];
    for (const way of [this.whole, this.joined, this.explained, this.labelled, this.listed]) {
      const parts = way.call(this, text, depth);
      const left = parts ? parts.reduce((sum, part) => sum + leftOver(part), 0) : Infinity;
      if (left < least) [best, least] = [parts, left];
      if (least === 0) break;
    }
    return best;
  }

  /** One template for all of it. */
  whole(text, depth) {
    const exact = this.exact.get(text);
    if (exact !== undefined) return [{ text: exact, translated: true }];
    for (const template of this.candidates(text)) {
      const found = holds(text, template.literals) ? template.pattern.exec(text) : null;
      if (found) return this.filled(template, found, depth);
    }
    return null;
  }

  /** The templates that a text may be of, those that say the most first. */
  candidates(text) {
    const words = text.split(/\s+/);
    const found = [...(this.byWord.get(words[0]) ?? []), ...this.others];
    for (const word of new Set(words)) found.push(...(this.byLaterWord.get(word) ?? []));
    return found.sort((a, b) => b.weight - a.weight);
  }

  filled({ holes, target }, found, depth) {
    const parts = [];
    for (let place = 0; place < target.length; place += 3) {
      if (target[place]) parts.push({ text: target[place], translated: true });
      if (place + 2 >= target.length) break;
      const hole = holes.findIndex(({ name }) => name === target[place + 2]);
      const said = found[hole + 1];
      const inside = holes[hole].kind === "*" ? (this.parts(said, depth + 1) ?? this.named(said)) : null;
      parts.push(...(inside ?? [asItIs(said, holes[hole].kind === "*")]));
    }
    return parts;
  }

  /** "sentence; sentence", each of which may hold "; " itself */
  joined(text, depth) {
    const pieces = clauses(text);
    if (pieces.length < 2) return null;
    const joined = [];
    let known = false;
    for (let place = 0, taken; place < pieces.length; place += taken) {
      let found = null;
      for (taken = Math.min(MOST_CLAUSES, pieces.length - Math.max(1, place)); taken > 1 && !found; taken -= found ? 0 : 1) {
        found = this.whole(pieces.slice(place, place + taken).join("; "), depth + 1);
      }
      found ??= this.parts(pieces[place], depth + 1);
      known ||= Boolean(found);
      joined.push(...(place ? [asItIs("; ")] : []), ...(found ?? [asItIs(pieces[place], true)]));
    }
    return known ? joined : null;
  }

  /** "sentence (sentence)" */
  explained(text, depth) {
    const open = opening(text);
    if (open < 1) return null;
    const head = this.parts(text.slice(0, open), depth + 1);
    const tail = text.slice(open + 2, -1);
    const inside = /\s/.test(tail) ? this.parts(tail, depth + 1) : null; // one word is a name, of a value for instance
    if (!head && !inside) return null;
    return [...(head ?? [asItIs(text.slice(0, open), true)]), asItIs(" ("), ...(inside ?? [asItIs(tail, true)]), asItIs(")")];
  }

  /** "label: sentence", where the label may be data, such as the name of a file */
  labelled(text, depth) {
    const colon = text.indexOf(": ");
    if (colon < 1) return null;
    const [label, rest] = [text.slice(0, colon), text.slice(colon + 2)];
    const said = this.parts(rest, depth + 1);
    return said && [...(this.parts(label, depth + 1) ?? [asItIs(label, true)]), asItIs(": "), ...said];
  }

  /** "label: data", where there is nothing else */
  named(text) {
    const [label, ...rest] = text.split(": ");
    const known = rest.length && isData(rest.join(": ")) ? this.exact.get(label) : undefined;
    return known === undefined ? null : [{ text: known, translated: true }, asItIs(`: ${rest.join(": ")}`)];
  }

  /** "sentence, sentence", where all of them are known */
  listed(text, depth) {
    const comma = text.indexOf(", ");
    const first = comma < 1 ? null : this.parts(text.slice(0, comma), depth + 1);
    const rest = first && this.parts(text.slice(comma + 2), depth + 1);
    return rest && [...first, asItIs(", "), ...rest];
  }
}

const into = (map, word, template) => map.set(word, [...(map.get(word) ?? []), template]);

/** Whether nobody has to understand the words: an address, a name, a number; not two words of a sentence. */
const isData = (text) => !/(?:^|[\s(])[A-Za-z]?[a-z]+,? [a-z]+/.test(text);

const asItIs = (text, judged = false) => ({ text, translated: !judged || isData(text) ? null : false });

/** How much of a part is left in English: characters; words in a hole for data are only likely to be. */
const leftOver = ({ text, translated }) => (translated === true ? 0 : translated === false ? text.length : isData(text) ? 0 : text.length / 2);

const escaped = (text) => text.replace(/[.*+?^${}()|[\]\\]/g, "\\$&");

/** The more is said by a template itself, and the less its holes may hold, the earlier it is tried. */
const weightOf = (literals, holes) => 10 * literals.join("").length + holes.filter(({ kind }) => kind === "#").length;

/** Whether the literal parts are there in their order: quicker than a pattern that fits nothing. */
function holds(text, literals) {
  if (!text.startsWith(literals[0]) || !text.endsWith(literals.at(-1))) return false;
  let place = 0;
  for (const literal of literals) {
    place = text.indexOf(literal, place);
    if (place < 0) return false;
    place += literal.length;
  }
  return true;
}

/** What stands between "; ", but for those in parentheses. */
function clauses(text) {
  const found = [];
  let [start, depth] = [0, 0];
  for (let place = 0; place < text.length; place += 1) {
    if (text[place] === "(") depth += 1;
    else if (text[place] === ")") depth = Math.max(0, depth - 1);
    else if (depth === 0 && text.startsWith("; ", place)) {
      found.push(text.slice(start, place));
      start = place + 2;
    }
  }
  return [...found, text.slice(start)];
}

/** Where the " (" is that the ")" at the end closes. */
function opening(text) {
  if (!text.endsWith(")")) return -1;
  let depth = 0;
  for (let place = text.length - 1; place > 0; place -= 1) {
    if (text[place] === ")") depth += 1;
    else if (text[place] === "(" && (depth -= 1) === 0) return text[place - 1] === " " ? place - 1 : -1;
  }
  return -1;
}

/** Neighbours of one kind as one part; data goes with what stands before it, else with what follows. */
function merged(parts) {
  const joined = [];
  for (const part of parts) {
    const last = joined.at(-1);
    if (last && (part.translated === null || last.translated === null || last.translated === part.translated)) {
      last.text += part.text;
      last.translated ??= part.translated;
    } else joined.push({ ...part });
  }
  return joined;
}
