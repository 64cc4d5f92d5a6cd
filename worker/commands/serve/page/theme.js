// Dark, light, or as the system has it: chosen with a button, and kept for the next visit.
// No module: it must run before anything is drawn.
"use strict";
(() => {
  const THEMES = ["system", "dark", "light"], root = document.documentElement;
  let theme = "system";
  try {
    theme = localStorage.getItem("theme");
  } catch { /* nothing is kept here */ }
  if (!THEMES.includes(theme)) theme = "system";

  function apply(button) {
    if (theme === "system") delete root.dataset.theme;
    else root.dataset.theme = theme;
    if (button) button.textContent = `Theme: ${theme}`;
    dispatchEvent(new Event("theme"));
  }

  apply(null);
  addEventListener("DOMContentLoaded", () => {
    const button = document.getElementById("theme");
    apply(button);
    button.addEventListener("click", () => {
      theme = THEMES[(THEMES.indexOf(theme) + 1) % THEMES.length];
      apply(button);
      try {
        localStorage.setItem("theme", theme);
      } catch { /* it holds until the page is closed */ }
    });
  });
})();
