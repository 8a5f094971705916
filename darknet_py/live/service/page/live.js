// Frames of a camera or a video file through the service: the newest frame is sent, and shown with its own boxes.

import { resultOf, ServiceError } from "./api.js";

const [IN_FLIGHT, LARGEST, QUALITY] = [2, 1280, 0.85];         // frames; pixels of the longer side; of JPEG
const BUSY = ["QUEUE_FULL", "TIMEOUT", "MEMORY"];           // reasons for which only a frame is lost
const WINDOW = 2000;                // milliseconds of which the rate of frames is the mean
const LONGEST_WAIT = 15;            // seconds for an answer, before frames go by POST

export class Live {
  /** service: a Service; query: () => its words; onFrame: called with (canvas, result, seconds of the frame);
   *  onEnd: with an error or null. */
  constructor(video, service, { query, onFrame, onEnd }) {
    Object.assign(this, { video, service, query, onFrame, onEnd });
    Object.assign(this, { active: false, source: null, socket: null, pending: [], sent: 0, answered: [] });
    const broken = new ServiceError("The rest of the video cannot be read.");
    video.addEventListener("error", () => { if (this.active) this.end(broken); });
  }

  async camera() {
    if (!navigator.mediaDevices?.getUserMedia) {
      throw new ServiceError("The browser gives the camera to pages of https or localhost only.");
    }
    const video = { facingMode: "environment", width: { ideal: LARGEST } };
    const stream = await navigator.mediaDevices.getUserMedia({ video, audio: false }).catch((error) => {
      throw new ServiceError({ NotAllowedError: "The camera was not allowed.", NotFoundError: "There is no camera.",
                               NotReadableError: "Another program uses the camera." }[error.name] ?? error.message);
    });
    this.stop();
    stream.getVideoTracks()[0].onended = () => this.active && this.source === stream && this.end(
      new ServiceError("The camera was switched off."));
    await this.#begin(stream);
  }

  async file(blob) {
    this.stop();
    await this.#begin(blob);
  }

  async #begin(source) {
    const { video } = this;
    this.source = source;
    if (source instanceof MediaStream) video.srcObject = source;
    else video.src = URL.createObjectURL(source);
    video.loop = !(source instanceof MediaStream);
    try {
      await video.play();
    } catch (error) {
      if (this.source !== source) return;                       // stopped, or another one, meanwhile
      this.stop();
      const words = { NotSupportedError: "The browser cannot play this video." };
      throw new ServiceError(words[error.name] ?? error.message);
    }
    if (this.source !== source) return;
    Object.assign(this, { active: true, answered: [] });
    this.#run(source).catch((error) => { if (this.source === source) this.end(error); });
  }

  /** Send a frame whenever there is a new one and few are on their way. */
  async #run(source) {
    await this.#connect(source);
    while (this.source === source) {
      await this.#nextFrame(source);
      if (this.source !== source) return;
      const frame = this.#grab();
      const blob = await new Promise((resolve) => { frame.canvas.toBlob(resolve, "image/jpeg", QUALITY); });
      if (this.source !== source) return;
      if (this.socket !== null) {
        this.pending.push({ ...frame, number: ++this.sent });
        this.socket.send(blob);
      } else {
        const result = await this.service.detect(blob, this.query());
        if (this.source === source) this.#answer(frame, result);
      }
    }
  }

  async #connect(source) {
    this.socket?.close();
    Object.assign(this, { socket: null, pending: [], sent: 0 });
    if (typeof WebSocket === "undefined") return;
    const socket = await this.service.stream(this.query()).catch(() => null);      // then frames go by POST
    if (socket === null || this.source !== source) {
      socket?.close();
      return;
    }
    this.socket = socket;
    socket.onmessage = ({ data }) => { if (this.socket === socket) this.#receive(JSON.parse(data)); };
    socket.onclose = () => { if (this.socket === socket) Object.assign(this, { socket: null, pending: [] }); };
  }

  /** The words of the query have changed. */
  reconnect() {
    if (this.active && this.socket !== null) this.#connect(this.source);
  }

  #receive(answer) {
    const frame = this.pending.find(({ number }) => number === answer.frame);
    this.pending = this.pending.filter(({ number }) => number > answer.frame);     // the service drops older ones
    if (!answer.error && frame !== undefined) {
      this.#answer(frame, resultOf(answer, (performance.now() - frame.start) / 1000));
    } else if (!BUSY.includes(answer.error?.reason)) {
      this.end(new ServiceError(answer.error?.message ?? "The service answered out of turn."));
    }
  }

  #answer(frame, result) {
    const now = performance.now();
    this.answered = [...this.answered.filter((time) => now - time < WINDOW), now];
    this.onFrame(frame.canvas, result, frame.seconds);
  }

  /** Resolves when the video has a new frame, and the service is not behind. */
  async #nextFrame(source) {
    const { video } = this;
    const asked = performance.now();
    while (this.source === source && this.socket !== null && this.pending.length >= IN_FLIGHT) {
      await new Promise((resolve) => { setTimeout(resolve, 4); });
      if (performance.now() - asked > 1000 * LONGEST_WAIT) this.socket?.close();
    }
    await new Promise((resolve) => {
      if (video.requestVideoFrameCallback) video.requestVideoFrameCallback(resolve);
      else if (video.paused) video.addEventListener("seeked", resolve, { once: true });
      else requestAnimationFrame(resolve);
    });
  }

  #grab() {
    const { video } = this;
    const scale = Math.min(1, LARGEST / Math.max(video.videoWidth, video.videoHeight));
    const canvas = document.createElement("canvas");
    canvas.width = Math.max(1, Math.round(video.videoWidth * scale));
    canvas.height = Math.max(1, Math.round(video.videoHeight * scale));
    canvas.getContext("2d").drawImage(video, 0, 0, canvas.width, canvas.height);
    const start = performance.now();
    return { canvas, start, seconds: video.srcObject ? start / 1000 : video.currentTime };
  }

  /** Frames a second; 0 before the second one. */
  get fps() {
    const { answered } = this;
    return answered.length < 2 ? 0 : 1000 * (answered.length - 1) / Math.max(1, answered.at(-1) - answered[0]);
  }

  get isCamera() {
    return this.source instanceof MediaStream;
  }

  stop() {
    const { video, source, socket } = this;
    Object.assign(this, { active: false, source: null, socket: null, pending: [] });
    socket?.close();
    video.pause();
    if (source instanceof MediaStream) {
      for (const track of source.getTracks()) track.stop();
      video.srcObject = null;
    } else if (source !== null) {
      URL.revokeObjectURL(video.src);
      video.removeAttribute("src");
    }
  }

  end(error = null) {
    this.stop();
    this.onEnd(error);
  }
}
