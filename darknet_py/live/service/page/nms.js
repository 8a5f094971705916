// Candidates to boxes: the score threshold and non-maximum suppression, by the rule of darknet_py/ops/nms.py.

const GREEDY_EXPONENT = 0.6;        // fixed in C's box_diou

/** Candidates of one result of ?format=boxes, by falling score; of equal scores the earlier comes first.
 *  Overlap is that of boxes relative to the picture, since DIoU depends on its proportions. */
export function candidatesOf({ boxes, scores, labels, width, height }) {
  return boxes
    .map(([left, top, right, bottom], k) => ({
      box: [left, top, right, bottom], score: scores[k], label: labels[k],
      x: (left + right) / 2 / width, y: (top + bottom) / 2 / height,
      w: (right - left) / width, h: (bottom - top) / height,
    }))
    .sort((a, b) => b.score - a.score);                         // stable
}

/** IoU of two boxes {x, y, w, h}; with an exponent DIoU, whose distance term it is of. */
export function overlap(a, b, exponent = null) {
  const left = Math.max(a.x - a.w / 2, b.x - b.w / 2), right = Math.min(a.x + a.w / 2, b.x + b.w / 2);
  const top = Math.max(a.y - a.h / 2, b.y - b.h / 2), bottom = Math.min(a.y + a.h / 2, b.y + b.h / 2);
  const shared = right < left || bottom < top ? 0 : (right - left) * (bottom - top);
  const union = a.w * a.h + b.w * b.h - shared;
  const iou = shared === 0 || union === 0 ? 0 : shared / union;
  if (exponent === null) return iou;
  const width = Math.max(a.x + a.w / 2, b.x + b.w / 2) - Math.min(a.x - a.w / 2, b.x - b.w / 2);
  const height = Math.max(a.y + a.h / 2, b.y + b.h / 2) - Math.min(a.y - a.h / 2, b.y - b.h / 2);
  const diagonal = width * width + height * height;
  const distance = (a.x - b.x) ** 2 + (a.y - b.y) ** 2;
  return diagonal === 0 ? iou : iou - (distance / diagonal) ** exponent;
}

/** The exponent of an nms_kind of the cfg; null where overlap is IoU. */
export function exponentOf(kind, beta) {
  return { greedynms: GREEDY_EXPONENT, diounms: beta }[kind] ?? null;
}

/** Boxes that a service would give with this threshold and NMS: scores above the threshold, and in each class none that
 *  overlaps a better one by more than nms; nms 0 keeps all. candidates: by falling score. */
export function select(candidates, thresh, nms, kind = "default", beta = GREEDY_EXPONENT) {
  const above = candidates.filter(({ score }) => score > thresh);
  if (nms === 0) return above;
  const exponent = exponentOf(kind, beta);
  const kept = new Map();                                       // by class
  return above.filter((box) => {
    const better = kept.get(box.label) ?? [];
    if (better.some((other) => overlap(other, box, exponent) > nms)) return false;
    better.push(box);
    kept.set(box.label, better);
    return true;
  });
}
