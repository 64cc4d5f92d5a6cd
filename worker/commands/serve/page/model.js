// What the page knows: settings, the group, and the markets, as the server's events tell it.
// It is bounded: of each market, the current state and as many closes as a sparkline draws.

import { decimalsOf } from "./format.js";

export class Model {
  constructor() {
    this.settings = null;
    this.group = null;
    this.version = null;
    this.markets = new Map();
    this.server_ms = null;
  }

  // By the server's clock; ours may be wrong.
  get now_ms() {
    return this.server_ms === null ? Date.now() : this.server_ms + performance.now() - this.came_ms;
  }

  ageOf(market) { return this.now_ms - market.state.time_ms; }

  // Without a time for that, never: a replay has the times of its candles.
  isStale(market) {
    const after_s = this.settings.stale_after_s;
    return after_s !== null && Math.abs(this.ageOf(market)) > after_s * 1e3;
  }

  // The whole document. Nothing that was known before counts.
  replace(document) {
    this.tick(document);
    this.settings = document.settings;
    this.version = document.version;
    this.group = document.group;
    this.markets.clear();
    for (const market of document.markets) this.#take(market);
  }

  // Returns the names of all markets that are not as before.
  advance({ markets, gone, ...event }) {
    this.tick(event);
    for (const symbol of gone) this.markets.delete(symbol);
    for (const market of markets) this.#take(market);
    return [...gone, ...markets.map(market => market.symbol)];
  }

  tick({ now_ms }) {
    this.server_ms = now_ms;
    this.came_ms = performance.now();
  }

  #take({ symbol, states, recent, ...rest }) {
    const before = recent ?? this.markets.get(symbol)?.closes ?? [];
    const closes = [...before, ...states.map(state => state.close)]
      .slice(-this.settings.closes_kept);
    this.markets.set(symbol, { symbol, ...rest, state: states.at(-1), closes,
      decimals: decimalsOf(closes) });
  }
}
