// What can be saved: the boxes as JSON, and a picture with its boxes drawn on it.

import { drawBoxes } from "./draw.js";

const round = (value) => Number(value.toFixed(6));

/** Records in the form of Darknet's JSON. pictures: [{name, boxes}] with boxes as select gives them. */
export function recordsOf(pictures, names) {
  return pictures.map(({ name, boxes }, index) => ({
    frame_id: index + 1,
    filename: name,
    objects: boxes.map(({ label, x, y, w, h, score, id }) => ({
      class_id: label,
      name: names[label] ?? String(label),
      relative_coordinates: { center_x: round(x), center_y: round(y), width: round(w), height: round(h) },
      confidence: round(score),
      ...(id === undefined ? {} : { track_id: id }),
    })),
  }));
}

/** A picture with boxes in its own size, as a blob of the type, or null where the browser cannot hold it. */
export function annotated(source, width, height, boxes, names, type) {
  const canvas = document.createElement("canvas");
  [canvas.width, canvas.height] = [width, height];
  const context = canvas.getContext("2d");
  context.drawImage(source, 0, 0, width, height);
  const size = { line: Math.max(1, Math.round((width + height) / 550)), font: Math.max(10, (width + height) / 80) };
  drawBoxes(context, boxes, names, (x, y) => [x, y], size, canvas);
  return new Promise((resolve) => { canvas.toBlob(resolve, type, 0.92); });
}

export function download(blob, name) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(blob);
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60000);
}

export const stemOf = (name) => name.replace(/\.[^.]*$/, "") || "picture";
