// The page of the service: what is on the stage, and what the controls do.

import { Service, ServiceError } from "./api.js";
import { Live } from "./live.js";
import { say } from "./message.js";
import { candidatesOf, select } from "./nms.js";
import { element, showBoxes, showClasses, showTimes } from "./panel.js";
import { Pictures } from "./pictures.js";
import { annotated, download, recordsOf, stemOf } from "./save.js";
import { Tracker } from "./tracks.js";
import { View } from "./view.js";

const LOWEST = 0.05;                // the threshold that candidates are asked for with, unless the model's is lower
const STEP = 0.01;                  // of the sliders
const COUNT_DELAY = 150;            // milliseconds from a change to the counts of pictures that are not shown
const $ = (id) => document.getElementById(id);

const state = { models: [], model: null, lowest: LOWEST, thresh: 0.25, nms: 0.45, hidden: new Set(), seen: new Set(),
                frame: null, boxes: [], drawn: 0 };
const tracker = new Tracker();
const service = new Service(askToken);
const query = () => ({ thresh: state.lowest, nms: 0, ...(state.model ? { model: state.model.name } : {}) });
const pictures = new Pictures($("thumbs"), service, { query, onChange: changed, onSelect: selected });
const live = new Live($("video"), service, { query, onFrame: showFrame, onEnd: ended });
const view = new View($("canvas"), {
  onChange: (scale) => { $("zoom").textContent = scale === null ? "" : `${Math.round(100 * scale)}%`; },
  onPoint: (box) => view.mark(box),
});

// What is on the stage

/** The result on the stage, of a frame or a picture, as {result, candidates, name}; null where there is none yet. */
function subject() {
  if (live.active) return state.frame;
  return pictures.current?.result ? pictures.current : null;
}

/** Boxes at the sliders' places, without the hidden classes; and the number of each class with those. */
function boxesOf({ candidates }) {
  const { nms_kind: kind, beta_nms: beta } = state.model ?? {};
  const all = select(candidates, state.thresh, state.nms, kind, beta);
  const counts = new Map();
  for (const { label } of all) counts.set(label, (counts.get(label) ?? 0) + 1);
  return { boxes: all.filter(({ label }) => !state.hidden.has(label)), counts };
}

/** Show boxes, counts and times of what is on the stage. */
function refresh() {
  const start = performance.now(), shown = subject(), item = live.active ? null : pictures.current;
  const names = shown?.result.names ?? state.model?.names ?? [];
  const { boxes, counts } = shown ? boxesOf(shown) : { boxes: [], counts: new Map() };
  if (live.active && shown && $("track").checked) tracker.update(boxes, shown.seconds);
  state.boxes = boxes;
  view.showBoxes(boxes, names);
  for (const label of counts.keys()) state.seen.add(label);
  const stay = [...state.seen].filter((label) => live.active || state.hidden.has(label));
  for (const label of stay) if (!counts.has(label)) counts.set(label, 0);
  showClasses($("classes"), counts, names, state.hidden, toggleClass);
  $("boxes-section").hidden = live.active || boxes.length === 0;
  $("all-classes").hidden = $("no-classes").hidden = counts.size === 0;
  if (!live.active) showBoxes($("boxes"), boxes, names, (box) => view.mark(box), (box) => view.zoomTo(box));
  const count = `${boxes.length} ${boxes.length === 1 ? "box" : "boxes"}`;
  $("count").textContent = shown ? count : item?.error ? "No result" : "…";
  $("count").setAttribute("aria-live", live.active ? "off" : "polite");
  $("file").textContent = live.active ? live.name : item ? nameAndSize(item) : "";
  const name = live.active ? live.name : item?.name ?? "";
  $("canvas").setAttribute("aria-label", `${name}: ${shown ? count : "no result"}`);
  $("busy").hidden = live.active ? state.frame !== null : !["waiting", "busy"].includes(item?.state) || item.isVideo;
  $("note").hidden = !shown?.result.truncated;
  $("note").textContent = "The service left out candidates of low scores: there were too many.";
  for (const id of ["save-picture", "save-json"]) $(id).disabled = !shown;
  if (item !== null && !item.isVideo) pictures.badge(item, shown ? boxes.length : null);
  if (shown) showTimes($("times"), shown.result, (performance.now() - start) / 1000);
  $("fps").textContent = live.active && live.fps > 0 ? `${live.fps.toFixed(1)} frames/s` : "";
  for (const id of ["classes", "times"]) $(id).closest("section").hidden = !shown;
}

function nameAndSize({ name, result }) {
  return result ? `${name} · ${result.width} × ${result.height}` : name;
}

/** Count the boxes of the other pictures, once the sliders rest. */
function countOthers() {
  clearTimeout(state.counting);
  state.counting = setTimeout(() => {
    for (const item of pictures.items) {
      if (item !== pictures.current && item.result) pictures.badge(item, boxesOf(item).boxes.length);
    }
  }, COUNT_DELAY);
}

function changed(item) {
  if (item.error) say(`${item.name}: ${item.error.message}`, { again: () => pictures.again([item]) });
  if (item === pictures.current) refresh();
  else pictures.badge(item, item.result ? boxesOf(item).boxes.length : null);
}

async function selected(item) {
  if (live.active || live.source) live.stop();
  layout();
  view.show(null, 1, 1, true);
  if (item === null) return;
  say(item.error ? `${item.name}: ${item.error.message}` : "", { again: () => pictures.again([item]) });
  if (item.isVideo) {
    await start(() => live.file(item.blob), item.name);
    return;
  }
  state.seen.clear();
  refresh();
  const decoding = pictures.imageOf(item), image = await decoding;
  if (item !== pictures.current || item.image !== decoding || live.active) return;
  if (image !== null) {
    view.show(image, image.width, image.height, true);
  } else if (item.result) {                                     // boxes on grey
    view.show(grey(), item.result.width, item.result.height, true);
    say(`${item.name}: the browser cannot show this picture; the boxes are the service's.`);
  }
}

function grey() {
  const canvas = element("canvas", { width: 1, height: 1 });
  const context = canvas.getContext("2d");
  context.fillStyle = "#808080";
  context.fillRect(0, 0, 1, 1);
  return canvas;
}

/** Show what there is to show: the large drop area, or the stage with its panel. */
function layout() {
  const filled = pictures.items.length > 0 || live.source !== null;
  const moves = filled && $("empty").contains(document.activeElement);
  $("empty").hidden = filled;
  $("stage").hidden = $("panel").hidden = !filled;
  $("live-bar").hidden = live.source === null;
  $("seek").hidden = live.isCamera;
  $("live-bar").classList.toggle("paused", $("video").paused);
  pictures.current?.button.setAttribute("aria-current", String(!live.isCamera));
  $("play").setAttribute("aria-label", $("video").paused ? "Play" : "Pause");
  if (moves) $("canvas").focus({ focusVisible: false });
  if (!filled) document.querySelector("#empty .choose").focus({ focusVisible: false });
}

// Camera and video

async function start(begin, name) {
  tracker.reset();
  state.seen.clear();
  state.frame = null;
  live.name = name;
  say("");
  const began = begin();
  layout();
  try {
    await began;
  } catch (error) {
    ended(error);
    return;
  }
  layout();
  refresh();
}

function showFrame(canvas, result, seconds) {
  state.frame = { result, candidates: candidatesOf(result), seconds, source: canvas };
  view.show(canvas, canvas.width, canvas.height);
  if (!live.isCamera) pictures.illustrate(pictures.current, canvas);
  if (!live.isCamera) seek($("video").currentTime);
  refresh();
}

/** Put the position in the video on its slider. */
function seek(seconds) {
  $("seek").value = seconds;
  $("seek").style.setProperty("--part", seconds / Math.max($("seek").max, 1e-9));
  $("seek").setAttribute("aria-valuetext", `${seconds.toFixed(1)} seconds`);
}

function ended(error) {
  state.frame = null;
  layout();
  if (pictures.current !== null && !pictures.current.isVideo) selected(pictures.current);
  else if (pictures.items.length > 0) refresh();
  if (error) say(error.message);
}

async function keepFrame() {
  const { source, result } = state.frame ?? {};
  if (!source) return;
  const blob = await new Promise((resolve) => { source.toBlob(resolve, "image/png"); });
  pictures.keep(new File([blob], `frame ${pictures.items.length + 1}.png`, { type: blob.type }), result);
}

// Controls

function add(files) {
  const fits = [...files].filter(({ type }) => type === "" || /^(image|video)\//.test(type));
  const others = [...files].filter((file) => !fits.includes(file)).map(({ name }) => name);
  if (fits.length > 0) pictures.add(fits);
  if (others.length > 0) say(`Neither picture nor video: ${others.join(", ")}`);
}

function toggleClass(label, shown) {
  const hidden = new Set(state.hidden);
  if (shown) hidden.delete(label);
  else hidden.add(label);
  hide(hidden);
}

function hide(labels) {
  state.hidden = labels;
  refresh();
  countOthers();
}

function slide(id, value) {
  state[id] = value;
  $(id).value = value;
  const text = id === "nms" && value === 0 ? "off" : value.toFixed(2);     // 0 keeps all, as Darknet does
  $(`${id}-value`).textContent = text;
  $(id).setAttribute("aria-valuetext", text);
  $(id).style.setProperty("--part", (value - $(id).min) / ($(id).max - $(id).min));
}

function useModel(model) {
  state.model = model;
  state.lowest = model.thresh >= LOWEST ? LOWEST : Math.max(STEP, Math.floor(model.thresh / STEP) * STEP);
  $("thresh").min = state.lowest;
  slide("thresh", Math.max(state.lowest, model.thresh));
  slide("nms", model.nms);
  state.hidden = new Set();
  state.seen.clear();
  tracker.reset();
  const { width, height, classes, backend, precision } = model;
  const about = [model.name, `${classes} ${classes === 1 ? "class" : "classes"}`, `input ${width} × ${height}`];
  $("about").textContent = [...about, backend, precision].join(" · ");
  $("model-name").textContent = state.models.length === 1 ? model.name : "";
}

async function askToken(refused) {
  $("token-error").hidden = !refused;
  $("token-value").value = "";
  $("token").returnValue = "cancel";                            // as Escape leaves it
  $("token").showModal();
  await new Promise((resolve) => { $("token").addEventListener("close", resolve, { once: true }); });
  return $("token").returnValue === "ok" ? $("token-value").value : null;
}

async function saveJson() {
  const names = subject().result.names;
  const all = live.active ? [{ name: live.name, boxes: state.boxes }] :
    pictures.items.filter(({ result }) => result).map((item) => ({ name: item.name, boxes: boxesOf(item).boxes }));
  const text = JSON.stringify(recordsOf(all, names), null, 1);
  const stem = all.length === 1 ? stemOf(all[0].name) : "detections";
  download(new Blob([`${text}\n`], { type: "application/json" }), `${stem}.json`);
}

async function savePicture() {
  const shown = subject(), { boxes } = state, name = live.active ? live.name : shown.name;
  const type = live.active || shown.blob.type === "image/jpeg" ? "image/jpeg" : "image/png";
  const source = live.active ? shown.source : await pictures.imageOf(shown) ?? grey();
  const { width, height, names } = shown.result;
  const blob = await annotated(source, width, height, boxes, names, type);
  if (blob === null) say(`${name}: the browser cannot hold a picture of ${width} × ${height} to save it.`);
  else download(blob, `${stemOf(name)}_detected.${type === "image/jpeg" ? "jpg" : "png"}`);
}

function listen() {
  const video = $("video");
  const on = (id, event, action) => $(id).addEventListener(event, action);
  for (const button of document.querySelectorAll(".choose")) button.addEventListener("click", () => $("files").click());
  for (const button of document.querySelectorAll(".camera")) {
    button.addEventListener("click", () => start(() => live.camera(), "Camera"));
  }
  on("files", "change", () => {
    add($("files").files);
    $("files").value = "";
  });
  for (const id of ["thresh", "nms"]) {
    on(id, "input", () => {
      slide(id, Number($(id).value));
      refresh();
      countOthers();
    });
  }
  on("all-classes", "click", () => hide(new Set()));
  on("no-classes", "click", () => hide(new Set([...state.hidden, ...state.seen])));
  on("zoom-in", "click", () => view.zoom(1.25));
  on("zoom-out", "click", () => view.zoom(0.8));
  on("fit", "click", () => view.fit());
  on("play", "click", () => (video.paused ? video.play() : video.pause()));
  on("stop", "click", () => live.end());
  on("keep", "click", keepFrame);
  on("seek", "input", () => { seek(video.currentTime = Number($("seek").value)); });
  on("track", "change", refresh);
  for (const event of ["play", "pause"]) on("video", event, layout);
  on("video", "durationchange", () => { $("seek").max = Number.isFinite(video.duration) ? video.duration : 0; });
  on("save-json", "click", saveJson);
  on("save-picture", "click", savePicture);
  on("model", "change", () => {
    useModel(state.models.find(({ name }) => name === $("model").value));
    pictures.again();
    live.reconnect();
  });
  document.addEventListener("paste", ({ clipboardData }) => add(clipboardData.files));
  let depth = 0;                                                // of the elements that a drag is over
  const dragging = (change) => (event) => {
    if (!event.dataTransfer?.types.includes("Files")) return;
    event.preventDefault();
    depth = change(depth);
    $("drop").hidden = depth === 0;
  };
  document.addEventListener("dragenter", dragging((n) => n + 1));
  document.addEventListener("dragover", dragging((n) => n));
  document.addEventListener("dragleave", dragging((n) => Math.max(0, n - 1)));
  document.addEventListener("drop", (event) => {
    dragging(() => 0)(event);
    if (event.dataTransfer?.files.length) add(event.dataTransfer.files);
  });
}

async function connect() {
  try {
    const { default: first, models } = await service.models();
    state.models = models;
    $("model").replaceChildren(...models.map(({ name }) => element("option", { textContent: name })));
    $("model").value = first;
    $("model-field").hidden = models.length < 2;
    useModel(models.find(({ name }) => name === first) ?? models[0]);
    pictures.open();
  } catch (error) {
    say(error instanceof ServiceError ? error.message : String(error), { again: connect });
  }
}

listen();
connect();
