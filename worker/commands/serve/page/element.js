// Makes elements. Texts are always texts: symbols come from outside.

const SVG = "http://www.w3.org/2000/svg";

// `properties` are those of the element; with a hyphen in their name, and `role`, attributes.
export function element(name, properties = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(properties)) {
    if (key.includes("-") || key === "role") made.setAttribute(key, value);
    else made[key] = value;
  }
  made.append(...children);
  return made;
}

export function svg(name, properties = {}, ...children) {
  const made = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(properties)) made.setAttribute(key, value);
  made.append(...children);
  return made;
}

// Only if it differs: what is the same costs no layout, and is not read out again.
export function say(made, text) {
  if (made.textContent !== text) made.textContent = text;
}

export function mark(made, name, isSo) {
  if (made.classList.contains(name) !== isSo) made.classList.toggle(name, isSo);
}
