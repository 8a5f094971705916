// The panel beside the picture: classes with their counts, the list of boxes, the times of each stage.

import { colourOf, percent } from "./draw.js";

const MOST_ROWS = 300;              // of the list of boxes
const STAGES = { queue: "Queue", decode: "Decode", network: "Network", postprocess: "Post-process",
                 total: "Service total" };

export function element(tag, properties = {}, ...children) {
  const made = Object.assign(document.createElement(tag), properties);
  made.append(...children);
  return made;
}

export function icon(name) {
  const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  const use = document.createElementNS("http://www.w3.org/2000/svg", "use");
  use.setAttribute("href", `#i-${name}`);
  svg.append(use);
  svg.setAttribute("aria-hidden", "true");
  return svg;
}

function swatch(label) {
  const made = element("span", { className: "swatch" });
  made.style.backgroundColor = colourOf(label).fill;
  return made;
}

/** Show a check box for each class. counts: a Map of class numbers to numbers of boxes. Rows that are there stay, with
 *  the focus they may have. */
export function showClasses(list, counts, names, hidden, onToggle) {
  const rows = new Map([...list.children].map((row) => [Number(row.dataset.label), row]));
  for (const [label, row] of rows) if (!counts.has(label)) row.remove();
  const labels = [...counts.keys()].sort((a, b) => a - b);
  labels.forEach((label, place) => {
    let row = rows.get(label);
    if (row === undefined) {
      const box = element("input", { type: "checkbox" });
      box.addEventListener("change", () => onToggle(label, box.checked));
      const name = element("span", { className: "name", textContent: names[label] ?? String(label) });
      row = element("li", {}, element("label", {}, box, swatch(label), name, element("span", { className: "number" })));
      row.dataset.label = label;
    }
    row.querySelector("input").checked = !hidden.has(label);
    row.querySelector(".number").textContent = counts.get(label);
    if (list.children[place] !== row) list.insertBefore(row, list.children[place] ?? null);
  });
}

/** Show a button for each box. onMark: with the box that has the focus or the pointer, or null; onPick: with the one
 *  that was pressed. */
export function showBoxes(list, boxes, names, onMark, onPick) {
  list.replaceChildren(...boxes.slice(0, MOST_ROWS).map((box) => {
    const name = element("span", { className: "name", textContent: names[box.label] ?? String(box.label) });
    const [left, top, right, bottom] = box.box.map(Math.round);
    const place = `at ${left}, ${top}, ${right - left} by ${bottom - top} pixels`;
    const button = element("button", { type: "button", title: place }, swatch(box.label), name,
                           element("span", { className: "number", textContent: percent(box.score) }),
                           element("span", { className: "unseen", textContent: place }));
    for (const event of ["focus", "pointerenter"]) button.addEventListener(event, () => onMark(box));
    for (const event of ["blur", "pointerleave"]) button.addEventListener(event, () => onMark(null));
    button.addEventListener("click", () => onPick(box));
    return element("li", {}, button);
  }));
  if (boxes.length > MOST_ROWS) {
    list.append(element("li", { className: "quiet", textContent: `and ${boxes.length - MOST_ROWS} more` }));
  }
}

/** Show the times of a result, and the seconds that this page took to select from it, with bars in parts of the
 *  greatest. */
export function showTimes(list, { times, roundTrip }, selection) {
  const stages = Object.entries(STAGES).map(([stage, words]) => [words, times[stage]]);
  const rows = [...stages, ["Round trip", roundTrip], ["In this page", selection]];
  const greatest = Math.max(...rows.map(([, seconds]) => seconds), 1e-9);
  rows.forEach(([words, seconds], place) => {
    if (list.children[place] === undefined) {
      list.append(element("div", {}, element("dt"), element("dd", {}, element("span", { className: "meter" }),
                                                            element("span", { className: "number" }))));
    }
    const row = list.children[place];
    row.querySelector("dt").textContent = words;
    row.querySelector(".number").textContent = `${(1000 * seconds).toFixed(seconds < 0.01 ? 2 : 1)} ms`;
    row.querySelector(".meter").style.setProperty("--part", seconds / greatest);
  });
}
