// The line above the picture that says what went wrong.

import { element } from "./panel.js";

/** Say nothing more, and hand the focus on. */
function leave() {
  say("");
  document.querySelector("#stage:not([hidden]) #canvas, #empty:not([hidden]) .choose").focus();
}

/** Say a line, "" for none. again: what a button in it does. */
export function say(text, { again = null } = {}) {
  const bar = document.getElementById("message");
  if (text === "") {
    bar.replaceChildren();
    return;
  }
  const close = element("button", { type: "button", className: "text", textContent: "Close" });
  close.addEventListener("click", leave);
  const parts = [element("p", { textContent: text }), close];
  if (again !== null) {
    const button = element("button", { type: "button", className: "text", textContent: "Try again" });
    button.addEventListener("click", () => { leave(); again(); });
    parts.splice(1, 0, button);
  }
  bar.replaceChildren(...parts);
}
