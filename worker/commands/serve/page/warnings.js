// What must not be missed, loud, above everything else.

import { element, say } from "./element.js";
import { clock, count, duration } from "./format.js";

const NAMED = 3;

export class Warnings {
  constructor(root) {
    this.root = root;
    this.lines = new Map();
  }

  // A line that stays as it was is left alone, so that it is read out once.
  draw(model, connection) {
    const now = new Map(warnings(model, connection));
    for (const [title, line] of this.lines) {
      if (now.has(title)) continue;
      line.remove();
      this.lines.delete(title);
    }
    for (const [title, text] of now) {
      if (!this.lines.has(title)) {
        const line = element("p", {}, element("strong", { textContent: title }), element("span"));
        this.lines.set(title, this.root.appendChild(line));
      }
      say(this.lines.get(title).lastChild, text);
    }
    say(document.querySelector("title"), (now.size ? "(!) " : "") + "marketstate");
  }
}

// Titles and texts. Texts have no number that runs by itself.
function* warnings(model, { isUp, lost_ms }) {
  if (!isUp) {
    yield ["NO CONNECTION", model.settings === null
      ? "The server does not answer. The page goes on by itself as soon as it does."
      : `The server does not answer. What you see is of ${clock(lost_ms)
      } or before. The page goes on by itself.`];
  }
  const { settings, group } = model;
  if (settings === null) return;
  const markets = [...model.markets.values()], canKnow = isUp && !group.trouble;
  if (group.trouble) {
    const since = group.read_ms === null ? "" : ` What you see is of ${clock(group.read_ms)} or before.`;
    yield ["REDIS IS AWAY", `${group.trouble}.${since} The page goes on by itself.`];
  }
  const invented = markets.filter(market => market.synthetic);
  if (invented.length || group.synthetic) {
    yield ["SYNTHETIC PRICES", invented.length
      ? `The last state of ${ofAll(invented, markets)} is of invented prices: ${names(invented)}.`
      : "Workers here are set to publish states of invented prices, or have done so lately."];
  }
  if (canKnow && group.workers_holding === 0) {
    yield ["NOBODY WORKS", "No worker holds a shard, so no state will come. Start one: "
      + "marketstate worker, or its service."];
  }
  const stale = canKnow ? markets.filter(market => model.isStale(market)) : [];
  if (stale.length) {
    yield ["STALE", `No state for more than ${duration(1e3 * settings.stale_after_s)
      }, or one with a time in the future: ${ofAll(stale, markets)}: ${names(stale)}.`];
  }
  for (const { tag, trouble } of group.partitions) yield [`PARTITION ${tag}`, trouble];
  if (canKnow && !group.healthy) yield ["NOT HEALTHY", group.health];
}

function ofAll(some, all) {
  const what = all.length === 1 ? "market" : "markets";
  return some.length === all.length ? `all ${count(all.length)} ${what}`
    : `${count(some.length)} of ${count(all.length)} ${what}`;
}

function names(markets) {
  const first = markets.slice(0, NAMED).map(market => market.symbol).join(", ");
  return markets.length > NAMED ? `${first} and ${count(markets.length - NAMED)} more` : first;
}
