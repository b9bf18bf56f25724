import { WORKER } from "./constants.js";

/** A worker from source that the page holds: no request, also where the page is a file on disk,
 * for which it must be a script and not a module. */
export function startWorker() {
  const url = URL.createObjectURL(new Blob([WORKER], { type: "text/javascript" }));
  return new Worker(url);
}
