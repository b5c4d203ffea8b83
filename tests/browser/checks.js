// What a reader without mouse, colours or sight depends on, as functions that list what is missing. Evaluated in the page.
({
  shown: (selector) => [...document.querySelectorAll(selector)].filter((element) => element.checkVisibility()),

  unnamed() {
    const named = (element) =>
      [element.getAttribute("aria-label"), element.innerText, element.labels?.[0]?.innerText, element.textContent].some((name) => name?.trim());
    const controls = "a, button, input, select, summary, nav, [role=button], [role=img], [role=region], [role=group], section[aria-label]";
    return this.shown(controls).filter((element) => !named(element)).map((element) => element.outerHTML.slice(0, 200));
  },

  headings() {
    return this.shown("h1, h2, h3, h4").map((heading) => Number(heading.tagName[1]));
  },

  doubledIds() {
    const ids = [...document.querySelectorAll("[id]")].map((element) => element.id);
    return ids.filter((id, place) => ids.indexOf(id) !== place);
  },

  tablesWithoutHeaders() {
    const headed = (cell) => cell.scope === "col" && cell.textContent.trim();
    return this.shown("table:not([role=presentation], .u-legend)")
      .filter((table) => ![...table.querySelectorAll("thead th")].every(headed))
      .map((table) => table.outerHTML.slice(0, 200));
  },

  stateDrawings() {
    const states = [...document.querySelectorAll("tbody .state")];
    return Object.fromEntries(states.map((state) => [state.innerText, state.querySelector("svg").innerHTML]));
  },

  focusIsVisible() {
    const element = document.activeElement;
    const outlined = (each) => {
      const style = each && getComputedStyle(each);
      return style && style.outlineStyle !== "none" && parseFloat(style.outlineWidth) >= 2;
    };
    const halo = element.querySelector(".node-halo");
    if (element === document.body || outlined(element) || outlined(element.closest(".chip"))) return true;
    return Boolean(halo && getComputedStyle(halo).stroke !== "none");
  },

  // WCAG 2.2, 2.5.8: 24 CSS pixels.
  smallTargets() {
    return this.shown("#tabs a, .chip, .button, select, input[type=search]")
      .filter((element) => element.getBoundingClientRect().height < 24)
      .map((element) => element.outerHTML);
  },

  // WCAG 2.2, 1.4.3, from what the browser has computed.
  lowContrast() {
    const numbers = (text) => text.match(/[\d.]+/g).map(Number);
    const channel = (value) => (value / 255 <= 0.04045 ? value / 255 / 12.92 : ((value / 255 + 0.055) / 1.055) ** 2.4);
    const luminance = ([red, green, blue]) => 0.2126 * channel(red) + 0.7152 * channel(green) + 0.0722 * channel(blue);
    const ground = (element) => {
      for (let each = element; each; each = each.parentElement) {
        const [red, green, blue, opaque = 1] = numbers(getComputedStyle(each).backgroundColor);
        if (opaque === 1) return [red, green, blue];
      }
      return [255, 255, 255];
    };
    const poor = new Set();
    const walk = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
    while (walk.nextNode()) {
      const text = walk.currentNode.data.trim();
      const element = walk.currentNode.parentElement;
      const apart = "svg, noscript, :disabled, .visually-hidden, .u-legend";
      if (!text || !element.checkVisibility() || element.closest(apart)) continue;
      const style = getComputedStyle(element);
      const [light, dark] = [luminance(numbers(style.color)), luminance(ground(element))].sort((a, b) => b - a);
      const contrast = (light + 0.05) / (dark + 0.05);
      const size = parseFloat(style.fontSize);
      const large = size >= 24 || (size >= 18.66 && Number(style.fontWeight) >= 700);
      if (contrast < (large ? 3 : 4.5)) poor.add(`${contrast.toFixed(2)} ${element.className || element.tagName}: ${text.slice(0, 40)}`);
    }
    return [...poor];
  },

  // Words that stand outside the brackets of a language whose texts are all in ⟦brackets⟧.
  looseWords() {
    const found = [];
    const walk = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
    while (walk.nextNode()) {
      const node = walk.currentNode;
      if (node.parentElement.closest("noscript, script, [translate=no], time, title, .u-legend")) continue;
      if (/\p{L}{2,}/u.test(node.data.replace(/⟦.*?⟧/gs, ""))) found.push(node.data);
    }
    for (const element of document.querySelectorAll("[aria-label], [placeholder]")) {
      for (const name of ["aria-label", "placeholder"]) {
        const text = element.getAttribute(name);
        if (text && !text.includes("⟦")) found.push(`${name}: ${text}`);
      }
    }
    return found;
  },
})
