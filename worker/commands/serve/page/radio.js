// One of several things to choose from, as a button that stays down.

import { element } from "./element.js";

// `inside` is what it shows.
export function radio(name, value, chosen, ...inside) {
  const input = element("input", { type: "radio", name, value });
  input.addEventListener("change", chosen);
  return element("label", {}, input, element("span", {}, ...inside));
}
