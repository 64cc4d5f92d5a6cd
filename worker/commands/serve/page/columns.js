// The columns of the table: what each means, shows, and is sorted by.

import { duration, percent, price, signed } from "./format.js";

const probability = (name, help) => ({
  id: name, unit: "%", help, falling: true, isNumber: true,
  text: market => percent(market.state[name], 0),
  value: market => market.state[name],
});

export const COLUMNS = [
  { id: "symbol", help: "The name of the market. Open one to see its plots.",
    text: market => market.symbol, value: market => market.symbol },
  { id: "price", help: "The close of the last candle.", falling: true, isNumber: true,
    text: market => price(market.state.close, market.decimals),
    value: market => market.state.close },
  { id: "recent", falling: true,
    help: "The last closes, from their lowest to their highest. Sorted by how much they rose.",
    value: market => market.state.close / market.closes[0] },
  { id: "sigma", unit: "%", falling: true, isNumber: true,
    help: "How much the price moves: a typical move per candle, in percent.",
    text: market => percent(market.state.sigma, 4), value: market => market.state.sigma },
  { id: "mu", unit: "%", falling: true, isNumber: true,
    help: "Where the price drifts: up above 0, down below; per candle, in percent.",
    text: market => signed(percent(market.state.mu, 5)), value: market => market.state.mu },
  { id: "ts", falling: true, isNumber: true,
    help: "How clear the drift is against the noise, |mu| / sigma. The arrow is the direction of mu.",
    text: market => direction(market.state.mu) + market.state.ts.toFixed(3),
    value: market => market.state.ts },
  probability("trend", "The probability that the market is trending."),
  probability("mr", "The probability of mean reversion, which here means that vr, the variance "
    + "ratio, is far from 1 in either direction."),
  probability("chop", "The probability that the market chops: neither of the others."),
  { id: "bar", label: "trend / mr / chop", falling: true,
    help: "The three probabilities as a bar: trend, mr, chop. Sorted by the largest.",
    value: ({ state }) => Math.max(state.trend, state.mr, state.chop) },
  { id: "regime", help: "The most probable regime. It describes the last returns; it is no forecast.",
    text: market => market.state.regime, value: market => market.state.regime },
  { id: "held", falling: true, isNumber: true,
    help: "How long the regime has lasted. With >, it began before what is known.",
    text: market => (market.since_known ? "" : ">") + duration(heldMs(market)), value: heldMs },
  { id: "missing", falling: true, isNumber: true,
    help: "How many candles are missing among those that the state was calculated from.",
    text: market => market.state.missing ? String(market.state.missing) : "",
    value: market => market.state.missing },
  { id: "age", isNumber: true,
    help: "Time since the close. With !, more than one state is overdue.",
    text: (market, model) => (model.isStale(market) ? "!" : "") + duration(model.ageOf(market)),
    value: market => -market.state.time_ms },
];

export const labelOf = ({ id, label = id }) => label;
export const labelWithUnit = column => labelOf(column) + (column.unit ? ` ${column.unit}` : "");
export const classOf = ({ id, isNumber }) => `c-${id}${isNumber ? " number" : ""}`;

function heldMs(market) { return market.state.time_ms - market.since_ms; }

function direction(mu) { return mu > 0 ? "▲ " : mu < 0 ? "▼ " : ""; }
