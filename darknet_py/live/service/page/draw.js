// Drawing of boxes with labels on a canvas, in the colours of darknet_py/viz/draw.py.

const GOLDEN_RATIO = 0.618034;
const [DARK, LIGHT] = ["#000000", "#ffffff"];
const [LARGEST_LABEL, CROWD] = [2, 30];     // in widths of its box; so many boxes share no places for labels
const colours = new Map();

/** {fill, text}: the colour of a class, and that of text on it with the greater contrast. */
export function colourOf(label) {
  if (!colours.has(label)) {
    const hue = (label * GOLDEN_RATIO % 1) * 6;
    const rgb = [5, 3, 1].map((n) => {                          // HSV with saturation 0.8 and value 0.95
      const k = (n + hue) % 6;
      return 0.95 * (1 - 0.8 * Math.max(0, Math.min(k, 4 - k, 1)));
    });
    const [r, g, b] = rgb.map((v) => (v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4));
    const luminance = 0.2126 * r + 0.7152 * g + 0.0722 * b;     // WCAG's relative luminance
    const onLight = (luminance + 0.05) / 0.05, onDark = 1.05 / (luminance + 0.05);
    colours.set(label, { fill: `rgb(${rgb.map((v) => Math.round(255 * v)).join(" ")})`,
                         text: onLight >= onDark ? DARK : LIGHT });
  }
  return colours.get(label);
}

export const percent = (score) => `${Math.round(100 * score)}%`;

/** The text on a box: its name, its track's number, its score. */
export function labelOf(box, names, whole = true) {
  const name = names[box.label] ?? String(box.label);
  const id = box.id === undefined ? "" : ` #${box.id}`;
  return whole ? `${name}${id} ${percent(box.score)}` : `${name}${id}`;
}

/** Draw boxes. place: (x, y) in the picture to (x, y) on the canvas. size: {line, font} in pixels of the canvas.
 *  bounds: width and height of the canvas. marked: the box that stands out, or null. */
export function drawBoxes(context, boxes, names, place, size, bounds, marked = null) {
  const placed = boxes.map((box) => {
    const [left, top] = place(box.box[0], box.box[1]), [right, bottom] = place(box.box[2], box.box[3]);
    return { box, left, top, right, bottom };
  }).filter(({ left, top, right, bottom }) => right > 0 && bottom > 0 && left < bounds.width && top < bounds.height);
  context.lineJoin = "round";
  for (const { box, left, top, right, bottom } of [...placed].reverse()) {        // the better one is on top
    context.globalAlpha = marked === null || marked === box ? 1 : 0.35;
    const line = size.line * (marked === box ? 1.6 : 1);
    context.lineWidth = line + size.line;
    context.strokeStyle = "rgb(0 0 0 / 35%)";                   // an edge, so that it shows on any background
    context.strokeRect(left, top, right - left, bottom - top);
    context.lineWidth = line;
    context.strokeStyle = colourOf(box.label).fill;
    context.strokeRect(left, top, right - left, bottom - top);
  }
  const strips = [];
  const order = marked === null ? placed : [...placed.filter(({ box }) => box === marked),
                                            ...placed.filter(({ box }) => box !== marked)];
  for (const item of order) {
    const strip = placeLabel(context, item, names, size, bounds, strips);
    if (strip.free || order.length <= CROWD) strips.push(strip);
  }
  context.textBaseline = "middle";
  for (const { box, text, left, top, width, height } of strips.reverse()) {
    const { fill, text: ink } = colourOf(box.label);
    context.globalAlpha = marked === null || marked === box ? 1 : 0.35;
    context.fillStyle = fill;
    context.beginPath();
    context.roundRect(left, top, width, height, size.font * 0.25);
    context.fill();
    context.fillStyle = ink;
    context.font = fontOf(size);
    context.fillText(text, left + size.font * 0.4, top + height * 0.53);
  }
  context.globalAlpha = 1;
}

const fontOf = (size) => `600 ${size.font}px system-ui, sans-serif`;

/** The first free place of a label: above its box, below, inside; without the score where its box is small beside it,
 *  or where there is no free place. */
function placeLabel(context, { box, left, top, right, bottom }, names, size, bounds, others) {
  context.font = fontOf(size);
  const height = Math.round(size.font * 1.55), half = size.line / 2;
  let first = null;
  for (const whole of [true, false]) {
    const text = labelOf(box, names, whole);
    const width = context.measureText(text).width + size.font * 0.8;
    if (whole && width > LARGEST_LABEL * (right - left) + size.font) continue;
    for (const y of [top - half - height, bottom + half, top + half, bottom - half - height]) {
      const strip = { box, text, width, height, free: true,
                      left: Math.max(0, Math.min(left - half, bounds.width - width)),
                      top: Math.max(0, Math.min(y, bounds.height - height)) };
      first ??= strip;
      if (others.every((other) => strip.left >= other.left + other.width || other.left >= strip.left + strip.width ||
                                  strip.top >= other.top + other.height || other.top >= strip.top + strip.height)) {
        return strip;
      }
    }
  }
  const text = labelOf(box, names, false);
  return { ...first, free: false, text, width: context.measureText(text).width + size.font * 0.8 };
}
