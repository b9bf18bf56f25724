import { WORKER } from "./constants.js";

const FORBIDDEN =
  "Nothing can be trained here: a security policy, of this page or of the browser, forbids background scripts (workers), in which training runs.";

/** A worker from source that the page holds: no request, also where the page is a file on disk,
 * for which it must be a script and not a module. `onstop` hears in a sentence why it stopped. */
export function startWorker({ onmessage, onstop }) {
  const refuse = () => onstop(FORBIDDEN);
  const postMessage = () => queueMicrotask(refuse);
  const url = URL.createObjectURL(new Blob([WORKER], { type: "text/javascript" }));
  try {
    const worker = new Worker(url);
    worker.onerror = ({ message }) => {
      if (message) return onstop(`The training stopped: ${message}.`);
      worker.postMessage = postMessage; // it was never read
      return refuse();
    };
    return Object.assign(worker, { onmessage });
  } catch {
    // some browsers say so at once
    return { postMessage, terminate() {} };
  } finally {
    setTimeout(() => URL.revokeObjectURL(url), 60_000); // when it has been read
  }
}
