// The header: what the group of workers does at the moment.

import { element, mark, say } from "./element.js";
import { clock, count, duration } from "./format.js";
import { explained } from "./tips.js";

// So many seconds may pass before what waits is called late, as in `top`.
const LATE_S = 10;

const FACTS = [
  { name: "workers", help: "Workers that hold a shard. The shards are shared out among them.",
    text: ({ workers_holding }) => known(workers_holding),
    isBad: group => group.workers_holding === 0 },
  { name: "shards", help: "Shards that a worker holds, of all. Nobody works on the others.",
    text: group => `${known(group.shards_held)}/${known(group.shards)}`,
    isBad: group => group.shards_held !== null && group.shards_held < group.shards },
  { name: "lag", help: "Entries of the input that no worker has taken.",
    text: group => (group.lag_at_least ? "≥" : "") + known(group.lag),
    isBad: group => group.lag > 0 && isLate(group) },
  { name: "pending", help: "Entries that were taken and are not finished.",
    text: group => known(group.pending),
    isBad: group => group.pending > 0 && isLate(group) },
  { name: "oldest", help: "How long the oldest entry that is not finished has waited.",
    text: group => group.oldest_unfinished_s === null ? "–"
      : duration(1e3 * group.oldest_unfinished_s), isBad: isLate },
  { name: "candles/min", help: "Candles applied in the last minute. Known after one minute.",
    text: group => known(group.candles_per_min) },
  { name: "states/min", help: "States published in the last minute.",
    text: group => known(group.states_per_min) },
  { name: "fresh", help: "Symbols with a fresh state, of all that the group knows.",
    text: ({ symbols }) => symbols === null ? "–" : `${count(symbols.fresh)}/${count(
      symbols.fresh + symbols.stale + symbols.filling)}`,
    isBad: ({ symbols }) => symbols !== null && symbols.stale > 0 },
  { name: "dead", help: "Entries that could not be read, in the stream of dead letters.",
    text: group => known(group.dead_letters), isBad: group => group.dead_letters > 0 },
  { name: "lost", help: "Entries that were trimmed before any worker had read them, ever.",
    text: group => known(group.lost), isBad: group => group.lost > 0 },
];

export class Facts {
  constructor(root, clockPlace, connectionPlace) {
    Object.assign(this, { clockPlace, connectionPlace });
    this.places = FACTS.map(({ name, help }) => {
      const place = element("dd");
      root.append(element("div", {}, element("dt", {}, ...explained(name, help, name)), place));
      return place;
    });
  }

  draw({ group }) {
    if (!group) return;
    FACTS.forEach(({ text, isBad }, i) => {
      say(this.places[i], text(group));
      mark(this.places[i], "bad", Boolean(isBad?.(group)));
    });
  }

  tick(model, isConnected) {
    say(this.clockPlace, clock(model.now_ms));
    const words = isConnected ? "live" : "not connected";
    say(this.connectionPlace, words);
    mark(this.connectionPlace, "bad", !isConnected);
  }
}

function known(value) { return value === null ? "–" : count(value); }

function isLate({ lag, pending, oldest_unfinished_s: oldest_s }) {
  return lag + pending > 0 && oldest_s > LATE_S;
}
