// Escape takes away the text that explains what is under the pointer or has the focus, until either
// is on something else.

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
