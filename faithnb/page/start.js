import { WORKER } from "./constants.js";

/** A worker from source that the page holds: no request, also where the page is a file on disk,
 * for which it must be a script and not a module. */
export function startWorker({ onmessage, onerror }) {
  const url = URL.createObjectURL(new Blob([WORKER], { type: "text/javascript" }));
  try {
    return Object.assign(new Worker(url), { onmessage, onerror });
  } catch (error) { // a page may forbid workers
    queueMicrotask(() => onerror(error));
    return { postMessage() {}, terminate() {} };
  } finally {
    setTimeout(() => URL.revokeObjectURL(url), 60_000); // when it has been read
  }
}
