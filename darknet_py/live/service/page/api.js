// The service's answers: models, detections of a picture, a stream of frames.

const TRIES = 6;                    // of a request while the service is busy
const BUSY = [429, 503];
let token = load();
let asking = null;

function load() {
  try {
    return sessionStorage.getItem("token");
  } catch {
    return null;                                                // storage is blocked
  }
}

/** A text's bytes in UTF-8, a letter each, as headers carry it. */
const bytesOf = (text) => String.fromCharCode(...new TextEncoder().encode(text));

/** A token as the name of a subprotocol, which is where a browser's websocket can carry it. */
function base64url(text) {
  return btoa(bytesOf(text)).replaceAll("+", "-").replaceAll("/", "_").replaceAll("=", "");
}

/** What the service, or the way to it, has against a request. */
export class ServiceError extends Error {
  constructor(message, status = 0, reason = "") {
    super(message);
    [this.status, this.reason] = [status, reason];
  }
}

/** askToken: called with whether one was refused, resolves to the token that the user typed, or null. Requests that
 *  are refused together ask once. */
async function askOnce(askToken, refused) {
  if (token !== refused) return;                                // another request has asked meanwhile
  asking ??= askToken(refused !== null).finally(() => { asking = null; });
  const answer = await asking;
  if (answer === null) throw new ServiceError("The service needs a token.", 401, "UNAUTHORIZED");
  token = answer;
  try {
    sessionStorage.setItem("token", token);
  } catch { /* it holds until the page is closed */ }
}

export class Service {
  constructor(askToken) {
    this.askToken = askToken;
  }

  async request(path, init = {}) {
    for (let tries = 1; ; tries += 1) {
      const used = token;
      const headers = { ...init.headers, ...(used === null ? {} : { Authorization: `Bearer ${bytesOf(used)}` }) };
      const url = new URL(path, document.baseURI);
      const response = await fetch(url, { ...init, headers, cache: "no-store" }).catch(async (error) => {
        if (error.name === "AbortError") throw error;
        const readable = await init.body?.slice(0, 1).arrayBuffer().catch(() => null);
        throw new ServiceError(readable === null ? "The file cannot be read." : "The service cannot be reached.");
      });
      if (response.ok) return response.json();
      if (response.status === 401) {
        await askOnce(this.askToken, used);
      } else if (BUSY.includes(response.status) && tries < TRIES && init.patient) {
        const seconds = Number(response.headers.get("Retry-After")) || 0.25 * 2 ** tries;
        await new Promise((resolve) => { setTimeout(resolve, 1000 * Math.min(seconds, 10)); });
      } else {
        throw await errorOf(response);
      }
    }
  }

  models() {
    return this.request("models", { patient: true });
  }

  /** The result of one picture, with the times of the answer. query: thresh, nms, model. */
  async detect(blob, query, init = {}) {
    const words = new URLSearchParams({ ...query, format: "boxes" });
    const headers = { "Content-Type": blob.type || "application/octet-stream" };
    const start = performance.now();
    const whole = { patient: true, ...init, method: "POST", body: blob, headers };
    const answer = await this.request(`detect?${words}`, whole);
    return resultOf(answer, (performance.now() - start) / 1000);
  }

  /** An open websocket of frames. Rejects where there is none. */
  stream(query) {
    const url = new URL(`stream?${new URLSearchParams(query)}`, document.baseURI);
    url.protocol = url.protocol.replace("http", "ws");
    const protocols = ["darknet-py", ...(token === null ? [] : [`bearer.${base64url(token)}`])];
    return new Promise((resolve, reject) => {
      const socket = new WebSocket(url, protocols);
      socket.onopen = () => resolve(socket);
      socket.onerror = () => reject(new ServiceError("The service has no websocket."));
    });
  }
}

/** The first result of an answer, with what belongs to the answer. roundTrip: seconds. */
export function resultOf({ results, times, model, truncated }, roundTrip) {
  const [result] = results;
  if (result.error) throw new ServiceError(result.error.message, 200, result.error.reason);
  return { truncated, ...result, times, model, roundTrip };
}

async function errorOf(response) {
  const body = await response.json().catch(() => ({}));
  const { reason = "", message = response.statusText } = body.error ?? {};
  return new ServiceError(message.replace(/^the picture: /, "") || `The service answered ${response.status}.`,
                          response.status, reason);
}
