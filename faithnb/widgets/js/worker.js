// Trains in a worker, so that the page stays responsive.
//
// In: { make: experiment, training: number } · { set: fields } · { run: stepsPerSecond } ·
// { pause: true } · { steps: n } · { given: { weights, history } } · { certify: number } ·
// { scan: { experiment, cells } }.
// Out: what `look` gathers · { error: sentence } · { certified: number, share or certificate }, all with
// the number of the training that they belong to · { cell, … }.

import { certificate } from "./certificate.js";
import { METRICS } from "./constants.js";
import { Trainer } from "./trainer.js";
import {
  LOST,
  circuitMap,
  contributingJacobian,
  evaluationSample,
  hasLost,
  memorization,
  quality,
  state,
  support,
} from "./measures.js";

const LOOK_EVERY = 80; // milliseconds between two looks at a running training, or
const LOOK_SHARE = 0.15; // as many as keep looking to this share of the time
const SLICE = 25; // milliseconds of training between two looks at the messages

let trainer = null;
let training = 0;
let failed = false; // there is nothing more to see of it
let sample = [];
let history = [];
let running = false;
let rate = Infinity; // steps a second
let due = 0; // steps to do at that rate
let lastTurn = 0;
let nextLook = 0;
let firstLoss = 0;
let search = null; // for the worst error of the present weights; given up when they change

/** Everything the page shows of the present weights. */
function look() {
  const start = performance.now();
  const { experiment, points } = trainer;
  const net = network(trainer);
  const shown = { ...measured(net, points[0], sample), step: trainer.step, running, training };
  shown.map = circuitMap(
    net,
    points.map((p) => Array.from(p)),
    sample.slice(0, 256),
  );
  shown.history = history;
  shown.done = trainer.step >= experiment.steps;
  history = [];
  postMessage(shown);
  const end = performance.now();
  nextLook = end + Math.max(LOOK_EVERY, (end - start) / LOOK_SHARE);
}

function network({ experiment: { d_in, d_sae, k }, W_enc, b_enc, W_dec, threshold }) {
  return { d: d_in, H: d_sae, W_enc, b_enc, W_dec, k, threshold };
}

function measured(net, p, x) {
  const found = quality(net, x);
  found.lost = hasLost(found.fvu);
  if (p) {
    found.memorization = memorization(net, p);
    const there = state(net, p);
    found.state = there && found.lost ? LOST : there; // what computes nothing generalises nothing
    found.jacobian = contributingJacobian(net, p, support(p));
  }
  return found;
}

/** Whether a loss is beyond what a training can end with; the package's rule. */
function leftBounds({ experiment: { d_in, steps }, step }, first, loss) {
  return (
    !Number.isFinite(loss) || (step >= steps && loss > METRICS.diverged * Math.max(first, d_in))
  );
}

function advance(remember = false) {
  const terms = trainer.update();
  if (trainer.step === 1) firstLoss = terms.loss;
  if (leftBounds(trainer, firstLoss, terms.loss)) {
    running = false;
    failed = true;
    postMessage({
      training,
      error: `The loss left all bounds at step ${trainer.step}. Try other settings.`,
    });
    return;
  }
  const every = Math.max(1, Math.floor(trainer.experiment.steps / 300));
  if (remember || (trainer.step - 1) % every === 0)
    history.push({ step: trainer.step - 1, ...terms });
  if (ended()) running = false;
}

const ended = () => failed || trainer.step >= trainer.experiment.steps;

// A slice of steps, a look at what came in, the next slice: messages to oneself wait less than timers.
// What came in waits for the next turn: of a slider that is dragged, only the last matters.
const turns = new MessageChannel();
const inbox = [];
let waiting = false;

function takeTurn(delay = 0) {
  if (waiting) return;
  waiting = true;
  if (delay) setTimeout(() => turns.port2.postMessage(0), delay);
  else turns.port2.postMessage(0);
}

turns.port1.onmessage = () => {
  waiting = false;
  const came = inbox.length > 0;
  inbox.splice(
    0,
    Math.max(
      0,
      inbox.findLastIndex(({ make }) => make),
    ),
  ); // what was for another training
  const news = inbox.splice(0);
  news.forEach(take);
  if (!running) {
    if (came && !failed && !news.every((one) => one.certify)) look();
    if (search) certify();
    return;
  }
  const start = performance.now();
  due = rate === Infinity ? Infinity : due + ((start - lastTurn) / 1000) * rate;
  lastTurn = start;
  while (running && due >= 1 && performance.now() - start < SLICE) {
    advance();
    due -= 1;
  }
  if (!failed && (!running || performance.now() > nextLook)) look();
  if (running) takeTurn(due >= 1 ? 0 : 15);
};

onmessage = ({ data }) => {
  if (data.scan) return scan(data.scan);
  inbox.push(data);
  return takeTurn();
};

/** A slice of the search for the worst error. */
function certify() {
  const end = performance.now() + SLICE;
  let turn = search.steps.next();
  while (!turn.done && performance.now() < end) turn = search.steps.next();
  const said = turn.done ? { certificate: turn.value } : { share: turn.value };
  postMessage({ training, certified: search.number, ...said });
  if (turn.done) search = null;
  else takeTurn();
}

function take(data) {
  if (data.certify) {
    const [p] = trainer.points;
    search = { number: data.certify, steps: certificate(network(trainer), p, support(p)) };
    return;
  }
  if (data.make || data.given || data.run || data.steps) search = null;
  if (data.make) {
    trainer = new Trainer(data.make);
    training = data.training;
    history = [];
    running = false;
    failed = false;
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
    running = !ended();
  }
  if (data.pause || data.steps) running = false;
  for (let k = 0; k < (data.steps || 0) && !ended(); k++) advance(true);
}

/** Train the given cells of a phase diagram, one after the other. */
function scan({ experiment, cells }) {
  const test = evaluationSample(experiment.d_in, experiment.density, 1024);
  for (const cell of cells) {
    const one = new Trainer({ ...experiment, ...cell.fields });
    const first = one.update().loss;
    let loss = first;
    while (one.step < one.experiment.steps && !leftBounds(one, first, loss))
      loss = one.update().loss;
    const found = leftBounds(one, first, loss)
      ? { state: "" }
      : measured(network(one), one.points[0], test);
    postMessage({ cell: cell.key, ...found });
  }
}
