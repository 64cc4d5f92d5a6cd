// Texts that explain what is under the pointer or has the focus. Escape takes one away, until either
// is on something else.

import { element } from "./element.js";

// A button, and the text that explains what `name` is.
export function explained(name, help, ...label) {
  const tip = element("span", { id: `about-${name}`, className: "tip", role: "tooltip",
    textContent: help });
  return [element("button", { type: "button", "aria-describedby": tip.id }, ...label), tip];
}

export function dismissibleTips() {
  const root = document.documentElement;
  let over = null;
  const back = event => {
    if (event.target === over) return;
    over = event.target;
    delete root.dataset.tips;
  };
  addEventListener("pointerover", back);
  addEventListener("focusin", back);
}

// Whether one was shown.
export function dismissTip() {
  const isShown = [...document.querySelectorAll(".tip")]
    .some(tip => getComputedStyle(tip).display !== "none");
  if (isShown) document.documentElement.dataset.tips = "off";
  return isShown;
}
