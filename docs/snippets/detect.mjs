// Detect objects with ONNX Runtime Web: node detect.mjs model.onnx picture.jpg
// after npm install onnxruntime-web jpeg-js.
// model.onnx is what `darknet-py convert CFG WEIGHTS model.onnx -outputs boxes` writes. In a browser, fetch() gives the
// model, and getImageData() of a canvas the pixels, which have the same form as jpeg-js gives.
import { readFileSync } from "node:fs";
import jpeg from "jpeg-js";
import * as ort from "onnxruntime-web";

// Fields of a protobuf message: their numbers and contents.
function* fields(bytes, at = 0) {
  const number = () => {
    let value = 0, factor = 1, byte;
    do {
      byte = bytes[at++];
      value += (byte & 127) * factor;
      factor *= 128;
    } while (byte > 127);
    return value;
  };
  while (at < bytes.length) {
    const key = number(), length = [() => (number(), 0), () => 8, number, null, null, () => 4][key % 8]();
    yield [key >> 3, bytes.subarray(at, at += length)];
  }
}

// The metadata, which ONNX Runtime's API lacks in JavaScript: the fields 14 of the model, each with a key and a value.
function metadata(model) {
  const decoder = new TextDecoder(), prefix = "darknet_py.";
  const pairs = [...fields(model)].filter(([field]) => field === 14)
    .map(([, entry]) => [...fields(entry)].map(([, text]) => decoder.decode(text)));
  return Object.fromEntries(pairs.filter(([key]) => key.startsWith(prefix))
    .map(([key, text]) => [key.slice(prefix.length), JSON.parse(text)]));
}

// RGBA bytes to planes of RGB in [0, 1], in a letterbox or stretched; bilinear, the centres of the corner pixels aligned.
function prepare(picture, width, height, innerW, innerH) {
  const x = new Float32Array(3 * width * height).fill(.5);
  const [left, top] = [Math.floor((width - innerW) / 2), Math.floor((height - innerH) / 2)];
  const axis = (source, target) => Array.from({ length: target }, (_, i) => {
    const place = target > 1 ? i * (source - 1) / (target - 1) : source - 1, low = Math.min(Math.floor(place), source - 1);
    return [low, Math.min(low + 1, source - 1), place - low];
  });
  const columns = axis(picture.width, innerW), rows = axis(picture.height, innerH);
  rows.forEach(([y0, y1, fy], y) => columns.forEach(([x0, x1, fx], column) => {
    for (let c = 0; c < 3; c++) {
      const pixel = (row, col) => picture.data[4 * (row * picture.width + col) + c] / 255;
      const upper = pixel(y0, x0) * (1 - fx) + pixel(y0, x1) * fx, lower = pixel(y1, x0) * (1 - fx) + pixel(y1, x1) * fx;
      x[(c * height + top + y) * width + left + column] = upper * (1 - fy) + lower * fy;
    }
  }));
  return x;
}

// Intersection over union of corners, less the distance term of DIoU if there is one.
function overlap(a, b, exponent) {
  const area = (c) => (c[2] - c[0]) * (c[3] - c[1]), side = (i) => Math.min(a[i + 2], b[i + 2]) - Math.max(a[i], b[i]);
  const shared = Math.max(0, side(0)) * Math.max(0, side(1)), iou = shared / (area(a) + area(b) - shared);
  const square = (low, high) => (high(0) - low(0)) ** 2 + (high(1) - low(1)) ** 2;
  const apart = square((i) => (a[i] + a[i + 2]) / 2, (i) => (b[i] + b[i + 2]) / 2);
  const whole = square((i) => Math.min(a[i], b[i]), (i) => Math.max(a[i + 2], b[i + 2]));
  return exponent === null ? iou : iou - (apart / whole) ** exponent;
}

const model = readFileSync(process.argv[2]), picture = jpeg.decode(readFileSync(process.argv[3]), { useTArray: true });
const about = metadata(model), [, , height, width] = about.input.shape, { score: least, nms } = about.thresholds;
const scale = about.resize.kind === "letterbox" ? Math.min(width / picture.width, height / picture.height) : null;
const [innerW, innerH] = scale === null ? [width, height]
  : [Math.floor(picture.width * scale), Math.floor(picture.height * scale)];
const x = prepare(picture, width, height, innerW, innerH);

const session = await ort.InferenceSession.create(model);
const { boxes, scores } = await session.run({ images: new ort.Tensor("float32", x, [1, 3, height, width]) });
const count = boxes.dims[1], classes = scores.dims[2];
const corners = (k) => [0, 1, 2, 3].map((i) => {            // pixels of the picture
  const [side, inner, full] = i % 2 ? [height, innerH, picture.height] : [width, innerW, picture.width];
  return (boxes.data[4 * k + i] * side - (side - inner) / 2) * full / inner;
});
for (let label = 0; label < classes; label++) {
  const certain = (k) => scores.data[k * classes + label];
  let order = [...Array(count).keys()].filter((k) => certain(k) > least).sort((a, b) => certain(b) - certain(a));
  while (order.length) {
    const best = corners(order[0]);
    console.log(about.names[label], certain(order[0]).toFixed(4), ...best.map((value) => value.toFixed(1)));
    order = order.slice(1).filter((k) => overlap(best, corners(k), about.thresholds.nms_exponent) <= nms);
  }
}
