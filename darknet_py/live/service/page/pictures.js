// The pictures that were given: their requests, a few at a time, and their thumbnails.

import { ServiceError } from "./api.js";
import { candidatesOf } from "./nms.js";
import { element, icon } from "./panel.js";

const [AT_ONCE, THUMB] = [2, 144];                  // requests; pixels

export class Pictures {
  /** query: () => the words of a request; onChange: called with an item that has changed; onSelect: with the one that
   *  is to be shown, or null. */
  constructor(list, service, { query, onChange, onSelect }) {
    Object.assign(this, { list, service, query, onChange, onSelect, items: [], current: null, running: 0, held: true });
  }

  /** Add files, and show the first of them. */
  add(files) {
    const items = files.map((blob) => this.#item(blob));
    this.items.push(...items);
    this.list.append(...items.map(({ row }) => row));
    for (const item of items) this.#thumbnail(item);
    this.select(items[0]);
    this.#pump();
  }

  #item(blob) {
    const item = { blob, name: blob.name || "picture.png", isVideo: blob.type.startsWith("video/"), state: "waiting",
                   result: null, candidates: [], error: null, image: null, abort: null };
    item.canvas = element("canvas", { width: THUMB, height: THUMB });
    item.badge = element("span", { className: "badge" });
    item.button = element("button", { type: "button", title: item.name }, item.canvas, item.badge);
    const remove = element("button", { type: "button", className: "icon remove", title: "Remove" }, icon("close"));
    remove.setAttribute("aria-label", `Remove ${item.name}`);
    item.button.addEventListener("click", () => this.select(item));
    remove.addEventListener("click", () => this.remove(item));
    item.row = element("li", {}, item.button, remove);
    if (item.isVideo) item.row.classList.add("video");
    if (item.isVideo) item.button.append(icon("film"));
    this.badge(item, null);
    return item;
  }

  /** Show a count on a thumbnail; null where there is none yet. */
  badge(item, count) {
    item.badge.textContent = item.error !== null ? "!" : count ?? "";
    item.row.classList.toggle("failed", item.error !== null);
    item.row.classList.toggle("waiting", !item.isVideo && ["waiting", "busy"].includes(item.state));
    const counted = count === null ? "waiting" : `${count} boxes`;
    const words = item.isVideo ? "video" : item.error !== null ? "failed" : counted;
    item.button.setAttribute("aria-label", `${item.name}, ${words}`);
  }

  async #thumbnail(item) {
    if (item.isVideo) return;
    const image = await this.imageOf(item);
    if (image !== null) this.illustrate(item, image);
    this.#release(item);
  }

  /** Draw the middle of a picture as a thumbnail, unless there is one. */
  illustrate(item, image) {
    if (item.illustrated) return;
    item.illustrated = true;
    const side = Math.min(image.width, image.height);
    const left = (image.width - side) / 2, top = (image.height - side) / 2;
    item.canvas.getContext("2d").drawImage(image, left, top, side, side, 0, 0, THUMB, THUMB);
  }

  /** The decoded picture, upright; null where the browser cannot decode it. Kept while it is the one that is shown. */
  imageOf(item) {
    item.image ??= createImageBitmap(item.blob).catch(() => null);
    return item.image;
  }

  #release(item) {
    if (item === this.current || item.image === null) return;
    item.image.then((image) => image?.close());
    item.image = null;
  }

  select(item) {
    const before = this.current;
    this.current = item;
    if (before !== null && before !== item) this.#release(before);
    for (const { button } of this.items) button.removeAttribute("aria-current");
    item?.button.setAttribute("aria-current", "true");
    item?.row.scrollIntoView({ block: "nearest", inline: "nearest" });
    this.onSelect(item);
  }

  remove(item) {
    const place = this.items.indexOf(item);
    this.items.splice(place, 1);
    item.abort?.abort();
    item.row.remove();
    const next = this.items[Math.min(place, this.items.length - 1)] ?? null;
    if (this.current === item) this.select(next);
    this.#release(item);
    next?.button.focus();
  }

  /** Ask for what waits, from now on. */
  open() {
    this.held = false;
    this.#pump();
  }

  /** Ask again: for one picture, or for all (the model has changed). */
  again(items = this.items) {
    for (const item of items) {
      item.abort?.abort();
      Object.assign(item, { state: "waiting", result: null, candidates: [], error: null, abort: null });
      this.badge(item, null);
      if (item === this.current) this.onChange(item);
    }
    this.#pump();
  }

  /** A frame that has its result already. */
  keep(blob, result) {
    const item = this.#item(blob);
    Object.assign(item, { state: "done", result, candidates: candidatesOf(result) });
    this.items.push(item);
    this.list.append(item.row);
    this.#thumbnail(item);
    this.onChange(item);
  }

  #pump() {
    const waiting = this.items.filter((item) => item.state === "waiting" && !item.isVideo);
    if (this.held || waiting.length === 0 || this.running >= AT_ONCE) return;
    this.#ask(waiting.includes(this.current) ? this.current : waiting[0]);
    this.#pump();
  }

  async #ask(item) {
    const abort = new AbortController();
    Object.assign(item, { state: "busy", abort });
    this.running += 1;
    const changes = await this.service.detect(item.blob, this.query(), { signal: abort.signal }).then(
      (result) => ({ state: "done", result, candidates: candidatesOf(result), error: null }),
      (error) => ({ state: "failed", error: error instanceof ServiceError ? error : new ServiceError(String(error)) }));
    this.running -= 1;
    if (item.abort === abort && this.items.includes(item)) {
      Object.assign(item, changes, { abort: null });
      this.onChange(item);
    }
    this.#pump();
  }
}
