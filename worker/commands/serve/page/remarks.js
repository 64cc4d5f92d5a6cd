// What is below the table: what the regimes mean, and symbols without a state, with the reason.

import { element, say } from "./element.js";
import { count } from "./format.js";

export class Remarks {
  constructor(root, meaning, version) {
    Object.assign(this, { root, meaning, version });
  }

  draw({ settings, group, version }) {
    if (settings === null) return;
    say(this.meaning, `${settings.meaning[0].toUpperCase()}${settings.meaning.slice(1)}.`);
    say(this.version, `marketstate ${version}, group ${settings.group}, candles of ${
      settings.interval}${settings.namespace && `, replay ${settings.namespace}`}`);
    const aside = Object.entries(group.set_aside);
    const lists = [
      [`${count(group.filling.length)} filling`,
        group.filling.map(symbol => [symbol, `needs ${settings.closes_needed} closes`])],
      [`${count(aside.length)} set aside`, aside],
      ...(group.status_trouble ? [["The group cannot be read", [["", group.status_trouble]]]] : []),
      ...(group.unreadable ? [[`${count(group.unreadable)} unreadable`,
        [["", "entries of the output stream that are not records of this version"]]]] : []),
    ].filter(([, items]) => items.length);
    const text = JSON.stringify(lists);
    if (text === this.drawn) return;
    this.drawn = text;
    const open = new Set([...this.root.querySelectorAll("details[open]")]
      .map(details => details.dataset.about));
    this.root.replaceChildren(...lists.map(([title, items]) => {
      const about = title.replace(/^[\d,]+ /, "");
      return element("details", { open: open.has(about), "data-about": about },
        element("summary", { textContent: title }),
        element("ul", {}, ...items.map(([symbol, why]) => element("li", {},
          element("b", { textContent: symbol }), ` ${why}`))));
    }));
  }
}
