// Numbers and times as texts.

const MINUS = "\u2212", SIGNIFICANT = 8, MOST_DECIMALS = 12;

// As many decimals as the prices of one market need, so that its digits stay in place.
export function decimalsOf(prices) {
  let most = 0;
  for (const price of prices) {
    const [digits, power = "0"] = Number(price.toPrecision(SIGNIFICANT)).toExponential().split("e");
    most = Math.max(most, (digits.split(".")[1] ?? "").length - Number(power));
  }
  return Math.min(most, MOST_DECIMALS);
}

export function price(value, decimals) {
  return value.toLocaleString("en", {
    minimumFractionDigits: decimals, maximumFractionDigits: decimals });
}

export function percent(share, decimals) {
  return (100 * share).toFixed(decimals);
}

export function signed(text) {
  if (text.startsWith("-")) return Number(text) === 0 ? text.slice(1) : MINUS + text.slice(1);
  return Number(text) === 0 ? text : `+${text}`;
}

export function count(value) {
  return value.toLocaleString("en", { maximumFractionDigits: 0 });
}

// An age for a narrow column, as `top` has it: 59s, 90m, 31h, 12d.
export function duration(ms) {
  const seconds = Math.max(0, Math.floor(ms / 1e3));
  for (const [length, unit, most] of [[1, "s", 100], [60, "m", 100], [3600, "h", 48]]) {
    if (Math.floor(seconds / length) < most) return Math.floor(seconds / length) + unit;
  }
  return `${Math.floor(seconds / 86400)}d`;
}

export function clock(ms) {
  return `${new Date(ms).toISOString().slice(11, 19)} UTC`;
}
