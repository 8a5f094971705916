// The picture on the stage: a canvas in the screen's own pixels, so that lines and labels are crisp at any zoom.

import { drawBoxes } from "./draw.js";

const [LARGEST, STEP, ARROW] = [40, 1.25, 48];      // scale at most; zoom of a key; pixels of an arrow key
const PIXELATED = 3;                                // the scale from which a picture's pixels stay squares
const [LINE, FONT, SMALL_FONT, NARROW] = [2, 13, 11, 480];      // CSS pixels; a stage below NARROW has SMALL_FONT
const WHEEL = 0.0015;

export class View {
  /** onChange: called with the scale when it changes, null without a picture; onPoint: with the box under the pointer,
   *  or null. */
  constructor(canvas, { onChange, onPoint }) {
    Object.assign(this, { canvas, onChange, onPoint, source: null, boxes: [], names: [], marked: null });
    Object.assign(this, { width: 1, height: 1, scale: 1, x: 0, y: 0, fitted: true, pointers: new Map() });
    this.context = canvas.getContext("2d");
    new ResizeObserver(() => this.#resize()).observe(canvas);
    this.#listen();
  }

  /** Show a picture (anything that drawImage takes) of width x height. It is fitted if it has another size, or fit. */
  show(source, width, height, fit = false) {
    const other = width !== this.width || height !== this.height;
    Object.assign(this, { source, width, height });
    if (source !== null) this.canvas.parentElement.style.setProperty("--aspect", width / height);
    if (fit || other || this.fitted) this.fit();
    this.draw();
  }

  showBoxes(boxes, names) {
    Object.assign(this, { boxes, names });
    if (!boxes.includes(this.marked)) this.marked = null;
    this.draw();
  }

  mark(box) {
    if (box === this.marked) return;
    this.marked = box;
    this.draw();
  }

  get fitScale() {
    const { clientWidth, clientHeight } = this.canvas;
    return Math.max(1e-6, Math.min(clientWidth / this.width, clientHeight / this.height, 8));
  }

  fit() {
    this.scale = this.fitScale;
    this.#settle();
  }

  /** Zoom by a factor; (x, y) in CSS pixels of the canvas stays where it is. */
  zoom(factor, x = this.canvas.clientWidth / 2, y = this.canvas.clientHeight / 2) {
    const scale = Math.min(LARGEST, Math.max(this.fitScale, this.scale * factor));
    this.x = x - (x - this.x) * scale / this.scale;
    this.y = y - (y - this.y) * scale / this.scale;
    this.scale = scale;
    this.#settle();
  }

  pan(dx, dy) {
    [this.x, this.y] = [this.x + dx, this.y + dy];
    this.#settle();
  }

  /** Put a box in the middle, at about a third of the stage. */
  zoomTo({ box: [left, top, right, bottom] }) {
    const { clientWidth, clientHeight } = this.canvas;
    const scale = Math.min(clientWidth / (right - left), clientHeight / (bottom - top)) / 3;
    this.scale = Math.min(LARGEST, Math.max(this.fitScale, scale));
    this.x = clientWidth / 2 - (left + right) / 2 * this.scale;
    this.y = clientHeight / 2 - (top + bottom) / 2 * this.scale;
    this.#settle();
  }

  draw() {
    this.frame ??= requestAnimationFrame(() => {
      this.frame = undefined;
      this.#paint();
    });
  }

  #settle() {
    const { clientWidth, clientHeight } = this.canvas;
    const within = (at, room, side) => side <= room ? (room - side) / 2 : Math.min(0, Math.max(room - side, at));
    this.x = within(this.x, clientWidth, this.width * this.scale);
    this.y = within(this.y, clientHeight, this.height * this.scale);
    this.fitted = this.scale <= this.fitScale * 1.001;
    this.canvas.style.touchAction = this.fitted ? "pan-y" : "none";
    this.canvas.classList.toggle("zoomed", !this.fitted);
    this.onChange(this.source === null ? null : this.scale);
    this.draw();
  }

  #resize() {
    const ratio = window.devicePixelRatio || 1;
    this.canvas.width = Math.round(this.canvas.clientWidth * ratio);
    this.canvas.height = Math.round(this.canvas.clientHeight * ratio);
    if (this.fitted) this.scale = this.fitScale;
    this.#settle();
    this.#paint();                                              // at once: a resized canvas is empty
  }

  #paint() {
    const { canvas, context, scale, x, y } = this;
    const ratio = window.devicePixelRatio || 1;
    context.setTransform(1, 0, 0, 1, 0, 0);
    context.clearRect(0, 0, canvas.width, canvas.height);
    if (this.source === null) return;
    const font = canvas.clientWidth < NARROW ? SMALL_FONT : FONT;
    context.imageSmoothingEnabled = scale * ratio < PIXELATED;
    context.imageSmoothingQuality = "high";
    context.drawImage(this.source, x * ratio, y * ratio, this.width * scale * ratio, this.height * scale * ratio);
    drawBoxes(context, this.boxes, this.names, (px, py) => [(px * scale + x) * ratio, (py * scale + y) * ratio],
              { line: LINE * ratio, font: font * ratio }, canvas, this.marked);
  }

  #at({ clientX, clientY }) {
    const { left, top } = this.canvas.getBoundingClientRect();
    return [clientX - left, clientY - top];
  }

  /** The smallest box at a place of the canvas, or null. */
  #boxAt(x, y) {
    const px = (x - this.x) / this.scale, py = (y - this.y) / this.scale;
    const area = ({ box: [left, top, right, bottom] }) => (right - left) * (bottom - top);
    return this.boxes
      .filter(({ box: [left, top, right, bottom] }) => px >= left && px <= right && py >= top && py <= bottom)
      .reduce((best, box) => best === null || area(box) < area(best) ? box : best, null);
  }

  #listen() {
    const { canvas, pointers } = this;
    canvas.addEventListener("wheel", (event) => {
      if (this.fitted && event.deltaY > 0) return;              // nothing to zoom out of: the page scrolls
      event.preventDefault();
      const lines = event.deltaMode === WheelEvent.DOM_DELTA_LINE ? 16 : 1;
      this.zoom(Math.exp(-event.deltaY * lines * WHEEL * (event.ctrlKey ? 5 : 1)), ...this.#at(event));
    }, { passive: false });
    canvas.addEventListener("pointerdown", (event) => {
      canvas.setPointerCapture(event.pointerId);
      pointers.set(event.pointerId, this.#at(event));
    });
    canvas.addEventListener("pointermove", (event) => {
      const [x, y] = this.#at(event), before = pointers.get(event.pointerId);
      if (before === undefined) {
        this.onPoint(event.pointerType === "mouse" ? this.#boxAt(x, y) : null);
        return;
      }
      const others = [...pointers].filter(([id]) => id !== event.pointerId).map(([, at]) => at);
      pointers.set(event.pointerId, [x, y]);
      if (others.length === 0) {
        this.pan(x - before[0], y - before[1]);
      } else {                                                  // a pinch
        const [ox, oy] = others[0];
        const factor = Math.hypot(x - ox, y - oy) / Math.max(1, Math.hypot(before[0] - ox, before[1] - oy));
        this.pan((x - before[0]) / 2, (y - before[1]) / 2);
        this.zoom(factor, (x + ox) / 2, (y + oy) / 2);
      }
    });
    for (const name of ["pointerup", "pointercancel"]) {
      canvas.addEventListener(name, (event) => pointers.delete(event.pointerId));
    }
    canvas.addEventListener("pointerleave", () => this.onPoint(null));
    canvas.addEventListener("dblclick", (event) => {
      if (this.fitted) this.zoom(Math.max(2, 1 / this.scale), ...this.#at(event));
      else this.fit();
    });
    const keys = {
      "+": () => this.zoom(STEP), "=": () => this.zoom(STEP), "-": () => this.zoom(1 / STEP), "0": () => this.fit(),
      "1": () => this.zoom(1 / this.scale), ArrowLeft: () => this.pan(ARROW, 0), ArrowRight: () => this.pan(-ARROW, 0),
      ArrowUp: () => this.pan(0, ARROW), ArrowDown: () => this.pan(0, -ARROW),
    };
    canvas.addEventListener("keydown", (event) => {
      if (!(event.key in keys) || event.ctrlKey || event.metaKey || event.altKey) return;
      event.preventDefault();
      keys[event.key]();
    });
  }
}
