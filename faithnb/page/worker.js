// Trains in a worker, so that the page stays responsive.
//
// In: { make: experiment } · { set: fields } · { run: stepsPerSecond } · { pause: true } ·
// { steps: n } · { given: { weights, history } } · { scan: { experiment, cells } }.
// Out: what `look` gathers · { cell, … } · { error: sentence }.

import { METRICS } from "./constants.js";
import { Trainer } from "./trainer.js";
import { circuitMap, contributingJacobian, evaluationSample, memorization, quality, state, support } from "./measures.js";

const LOOK_EVERY = 80; // milliseconds between two looks at a running training, or
const LOOK_SHARE = 0.15; // as many as keep looking to this share of the time
const SLICE = 25; // milliseconds of training between two looks at the messages

let trainer = null;
let sample = [];
let history = [];
let running = false;
let rate = Infinity; // steps a second
let due = 0; // steps to do at that rate
let lastTurn = 0;
let nextLook = 0;
let firstLoss = 0;

/** Everything the page shows of the present weights. */
function look() {
  const start = performance.now();
  const { experiment, points } = trainer;
  const net = network(trainer);
  const shown = { ...measured(net, points[0], sample), step: trainer.step, running };
  shown.map = circuitMap(net, points.map((p) => Array.from(p)), sample.slice(0, 256));
  shown.history = history;
  shown.done = trainer.step >= experiment.steps;
  history = [];
  postMessage(shown);
  const end = performance.now();
  nextLook = end + Math.max(LOOK_EVERY, (end - start) / LOOK_SHARE);
}

function network({ experiment: { d_in, d_sae }, W_enc, b_enc, W_dec }) {
  return { d: d_in, H: d_sae, W_enc, b_enc, W_dec };
}

function measured(net, p, sample) {
  const found = quality(net, sample);
  if (p) {
    found.memorization = memorization(net, p);
    found.state = state(net, p);
    found.jacobian = contributingJacobian(net, p, support(p));
  }
  return found;
}

/** Whether a loss is beyond what a training can end with; the package's rule. */
function leftBounds({ experiment: { d_in, steps }, step }, first, loss) {
  return !Number.isFinite(loss) || (step >= steps && loss > METRICS.diverged * Math.max(first, d_in));
}

function advance() {
  const terms = trainer.update();
  if (trainer.step === 1) firstLoss = terms.loss;
  if (leftBounds(trainer, firstLoss, terms.loss)) {
    running = false;
    postMessage({ error: `The loss left all bounds at step ${trainer.step}. Reset, and try other settings.` });
    return;
  }
  const every = Math.max(1, Math.floor(trainer.experiment.steps / 300));
  if ((trainer.step - 1) % every === 0) history.push({ step: trainer.step - 1, ...terms });
  if (trainer.step >= trainer.experiment.steps) running = false;
}

// A slice of steps, a look at what came in, the next slice: messages to oneself wait less than timers.
const turns = new MessageChannel();
let waiting = false;

function takeTurn(delay = 0) {
  if (waiting) return;
  waiting = true;
  if (delay) setTimeout(() => turns.port2.postMessage(0), delay);
  else turns.port2.postMessage(0);
}

turns.port1.onmessage = () => {
  waiting = false;
  if (!running) return;
  const start = performance.now();
  due = rate === Infinity ? Infinity : due + ((start - lastTurn) / 1000) * rate;
  lastTurn = start;
  while (running && due >= 1 && performance.now() - start < SLICE) {
    advance();
    due -= 1;
  }
  if (!running || performance.now() > nextLook) look();
  if (running) takeTurn(due >= 1 ? 0 : 15);
};

onmessage = ({ data }) => {
  if (data.scan) return scan(data.scan);
  if (data.make) {
    trainer = new Trainer(data.make);
    history = [];
    running = false;
  }
  if (data.given) {
    trainer.weights.forEach((weight, k) => weight.set(data.given.weights[k]));
    trainer.step = trainer.experiment.steps;
    history = data.given.history;
    running = false;
  }
  if (data.set) Object.assign(trainer.experiment, data.set);
  if (data.make || data.set) {
    sample = evaluationSample(trainer.experiment.d_in, trainer.experiment.density);
  }
  if (data.run) {
    rate = data.run;
    due = 0;
    lastTurn = performance.now();
    if (!running && trainer.step < trainer.experiment.steps) {
      running = true;
      takeTurn();
    }
  }
  if (data.pause || data.steps) running = false;
  for (let k = 0; k < (data.steps || 0) && trainer.step < trainer.experiment.steps; k++) advance();
  if (!running) look();
  return undefined;
};

/** Train the given cells of a phase diagram, one after the other. */
function scan({ experiment, cells }) {
  const test = evaluationSample(experiment.d_in, experiment.density, 1024);
  for (const cell of cells) {
    const one = new Trainer({ ...experiment, ...cell.fields });
    const first = one.update().loss;
    let loss = first;
    while (one.step < one.experiment.steps && !leftBounds(one, first, loss)) loss = one.update().loss;
    const found = leftBounds(one, first, loss) ? { state: "" } : measured(network(one), one.points[0], test);
    postMessage({ cell: cell.key, ...found });
  }
}
