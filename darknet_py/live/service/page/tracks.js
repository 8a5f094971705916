// Tracking: numbers for boxes that stay with an object from frame to frame, by overlap within a class.

import { overlap } from "./nms.js";

const LEAST_OVERLAP = 0.25;
const LOST_SECONDS = 1;             // a track without a box for so long ends
const SMOOTHING = 0.5;              // of a track's speed

export class Tracker {
  constructor() {
    this.reset();
  }

  reset() {
    [this.tracks, this.last] = [[], 0];
  }

  /** Number the boxes {x, y, w, h, label} of a frame: sets their `id`. seconds: the frame's time; that of the frame
   *  before numbers the same frame again. Pairs are taken by falling overlap of the box with the place where the
   *  track's speed puts it. */
  update(boxes, seconds) {
    this.tracks = this.tracks.filter((track) => seconds >= track.seen && seconds - track.seen <= LOST_SECONDS);
    const pairs = [];
    for (const track of this.tracks) {
      const ahead = seconds - track.seen;
      const place = { ...track.box, x: track.box.x + track.vx * ahead, y: track.box.y + track.vy * ahead };
      for (const box of boxes) {
        const value = box.label === track.box.label ? overlap(place, box) : 0;
        if (value >= LEAST_OVERLAP) pairs.push({ track, box, value });
      }
    }
    pairs.sort((a, b) => b.value - a.value);
    const [matched, taken] = [new Map(), new Set()];
    for (const { track, box } of pairs) {
      if (matched.has(box) || taken.has(track)) continue;
      matched.set(box, track);
      taken.add(track);
    }
    for (const box of boxes) {
      const track = matched.get(box) ?? this.#start(box, seconds);
      const passed = seconds - track.seen;
      if (passed > 0) {
        track.vx += SMOOTHING * ((box.x - track.box.x) / passed - track.vx);
        track.vy += SMOOTHING * ((box.y - track.box.y) / passed - track.vy);
      }
      [track.box, track.seen, box.id] = [box, seconds, track.id];
    }
  }

  #start(box, seconds) {
    const track = { id: ++this.last, box, seen: seconds, vx: 0, vy: 0 };
    this.tracks.push(track);
    return track;
  }
}
