// What is measured of a transcoder, once more for a page without a kernel: faithnb/measures for one network
// { d, H, W_enc, b_enc, W_dec } that explains |x|, with `k` or `threshold` where its architecture has one.
//
// W_enc[k * H + i] is what coordinate k gives feature i, W_dec[i * d + k] what feature i writes to k.

import { gated } from "./gates.js";
import { Stream, sampleBase } from "./random.js";
import { CIRCUITS, METRICS } from "./constants.js";

/** h_i for each feature at x. */
export function encode(net, x) {
  const { d, H, W_enc, b_enc } = net;
  const h = Float64Array.from(b_enc);
  for (let k = 0; k < d; k++) {
    if (x[k] !== 0) for (let i = 0; i < H; i++) h[i] += x[k] * W_enc[k * H + i];
  }
  return gated(h, net);
}

/** ‖w_dec,i‖ of each feature. */
function decoderNorms({ d, H, W_dec }) {
  return Float64Array.from({ length: H }, (_, i) =>
    Math.hypot(...W_dec.subarray(i * d, (i + 1) * d)),
  );
}

/** h_i ‖w_dec,i‖, how much each feature writes at x. */
export function contributions(net, x) {
  const norms = decoderNorms(net);
  return encode(net, x).map((h, i) => h * norms[i]);
}

/** Σ_i h_i w_dec,i. */
function decode({ d, H, W_dec }, h) {
  const y = new Float64Array(d);
  for (let i = 0; i < H; i++) {
    if (h[i] > 0) for (let k = 0; k < d; k++) y[k] += h[i] * W_dec[i * d + k];
  }
  return y;
}

/** The Jacobian at x of the features that contribute there, on some coordinates, row by row. */
export function contributingJacobian(net, x, coordinates) {
  const { d, H, W_enc, W_dec } = net;
  const size = contributions(net, x);
  return coordinates.map((out) =>
    coordinates.map((into) => {
      let sum = 0;
      for (let i = 0; i < H; i++) {
        if (size[i] > METRICS.contributes) sum += W_dec[i * d + out] * W_enc[into * H + i];
      }
      return sum;
    }),
  );
}

/** Coordinates of p that are not 0. */
export const support = (p) => [...p.keys()].filter((k) => p[k] !== 0);

/** The note's measure of datapoint features at p, and what a full one has. */
export function memorization(net, p) {
  const { d, H, W_dec } = net;
  const at = support(p);
  const y = Array.from(p, Math.abs);
  const size = Math.hypot(...y);
  const h = encode(net, p);
  let total = 0;
  for (let i = 0; i < H; i++) {
    let along = 0;
    for (const k of at) along += (h[i] * W_dec[i * d + k] * y[k]) / size;
    total += Math.max(0, along - Math.max(...at.map((k) => h[i] * W_dec[i * d + k])));
  }
  return { total, full: size - Math.max(...y) };
}

export const LOST = "lost the task";

/** Whether a transcoder has not learned the task, or lost it. */
export const hasLost = (fvu) => !(fvu < METRICS.lost);

/** "datapoint", "pair", "generalising" or "other"; null where p has fewer than two coordinates. */
export function state(net, p) {
  const { d, H, W_enc, W_dec } = net;
  const at = support(p);
  if (at.length < 2) return null;
  const { total, full } = memorization(net, p);
  const m = total / full;
  const y = Array.from(p, Math.abs);
  const on = encode(net, p);
  const features = [...on.keys()].filter((i) => on[i] > 0);
  const column = (i) => Array.from({ length: d }, (_, k) => W_enc[k * H + i]);
  const row = (i) => W_dec.subarray(i * d, (i + 1) * d);
  const writes = (direction) => features.some((i) => cosine(row(i), direction) > METRICS.aligned);
  const unit = (...ks) => Float64Array.from({ length: d }, (_, k) => (ks.includes(k) ? 1 : 0));
  const whole = features.some(
    (i) => Math.min(cosine(column(i), p), cosine(row(i), y)) > METRICS.aligned,
  );
  if (m >= METRICS.datapoint && whole) return "datapoint";
  const pairs = at.flatMap((j) => at.filter((k) => k > j).map((k) => unit(j, k)));
  if (m >= METRICS.partial && pairs.some(writes)) return "pair";
  return m < METRICS.partial && at.every((j) => writes(unit(j))) ? "generalising" : "other";
}

function cosine(a, b) {
  return dot(a, b) / (Math.hypot(...a) * Math.hypot(...b) || 1);
}

/** Fixed base samples, none of them seen in training: `rows` arrays of d numbers. */
export function evaluationSample(d, density, rows = 512) {
  const x = new Float64Array(rows * d);
  sampleBase(new Stream(0, "evaluation"), 0, rows, d, density, x);
  return Array.from({ length: rows }, (_, b) => x.subarray(b * d, (b + 1) * d));
}

/** FVU and L0 on a sample. */
export function quality(net, sample) {
  const { d } = net;
  const norms = decoderNorms(net);
  const mean = new Float64Array(d);
  for (const x of sample) for (let k = 0; k < d; k++) mean[k] += Math.abs(x[k]) / sample.length;
  let error = 0;
  let variance = 0;
  let active = 0;
  for (const x of sample) {
    const h = encode(net, x);
    const y = decode(net, h);
    for (let k = 0; k < d; k++) {
      error += (y[k] - Math.abs(x[k])) ** 2;
      variance += (Math.abs(x[k]) - mean[k]) ** 2;
    }
    for (let i = 0; i < h.length; i++) if (h[i] * norms[i] > METRICS.contributes) active += 1;
  }
  return { fvu: error / variance, l0: active / sample.length };
}

/** How much of each circuit is in each feature: loadings[circuit][feature], true circuits first. */
export function circuitMap(net, points, sample) {
  const { d, H, W_dec } = net;
  const x = [...sample, ...points];
  const [atoms, choices] = library(d, points, x);
  const scale = atoms.map((a) => norm(a.act) * norm(a.write));
  const gram = atoms.map((a, k) =>
    atoms.map((b, l) =>
      scale[k] && scale[l]
        ? (dot(a.act, b.act) * dot(a.write, b.write)) / (scale[k] * scale[l])
        : 0,
    ),
  );
  const h = x.map((row) => encode(net, row));
  const norms = decoderNorms(net);
  const usable = choices.map((choice) => independent(gram, choice));
  const loadings = choices[0].map(() => new Float64Array(H));
  const size = new Float64Array(H);
  for (let i = 0; i < H; i++) {
    const f = h.map((row) => row[i]);
    size[i] = norm(f) * norms[i];
    if (Math.max(...f) * norms[i] <= METRICS.contributes) continue;
    const writes = W_dec.subarray(i * d, (i + 1) * d);
    const correlation = atoms.map((a, k) =>
      scale[k] ? (dot(f, a.act) * dot(writes, a.write)) / (scale[k] * size[i]) : 0,
    );
    const codes = usable.map((kept) => code(gram, correlation, kept));
    const best = codes.reduce((b, c, k) => (c.rest < codes[b].rest ? k : b), 0);
    choices[best].forEach((atom, k) => (loadings[k][i] = codes[best].loading[atom] || 0));
  }
  return { loadings, size, names: names(d, points), order: order(loadings, size) };
}

/** The true circuits' atoms, then those of each point at each threshold; the index sets to try. */
function library(d, points, x) {
  const unit = (k) => Float64Array.from({ length: d }, (_, j) => (j === k ? 1 : 0));
  const atoms = [];
  for (const sign of [1, -1]) {
    for (let k = 0; k < d; k++) {
      atoms.push({ act: x.map((row) => Math.max(0, sign * row[k])), write: unit(k) });
    }
  }
  for (const p of points) {
    const squares = dot(p, p);
    for (const t of CIRCUITS.thresholds) {
      const act = x.map((row) => Math.max(0, (dot(row, p) / squares - t) / (1 - t)));
      atoms.push({ act, write: p.map(Math.abs) });
    }
  }
  const true_ = Array.from({ length: 2 * d }, (_, k) => k);
  const n = CIRCUITS.thresholds.length;
  const choices = points.length
    ? CIRCUITS.thresholds.map((_, t) => [...true_, ...points.map((_, j) => 2 * d + j * n + t)])
    : [true_];
  return [atoms, choices];
}

function independent(gram, choice) {
  const kept = [];
  for (const k of choice) {
    if (gram[k][k] > 0 && kept.every((j) => gram[k][j] < 1 - 1e-9)) kept.push(k);
  }
  return kept;
}

/** Non-negative sparse code: the LASSO picks the atoms, least squares sets the amplitudes. */
function code(gram, correlation, kept) {
  const sparse = descend(gram, correlation, kept, CIRCUITS.sparsity);
  const picked = kept.filter((k) => sparse[k] > 0);
  const loading = descend(gram, correlation, picked, 0);
  let rest = 1;
  for (const k of picked) {
    rest -= 2 * loading[k] * correlation[k];
    for (const j of picked) rest += loading[k] * loading[j] * gram[k][j];
  }
  return { loading, rest };
}

/** Coordinate descent on ½ aᵀGa − cᵀa + penalty Σ a over a ≥ 0. */
function descend(gram, correlation, kept, penalty) {
  const a = new Float64Array(correlation.length);
  for (let round = 0; round < 500; round++) {
    let moved = 0;
    for (const k of kept) {
      let pull = correlation[k] - penalty;
      for (const j of kept) if (j !== k && a[j] !== 0) pull -= gram[k][j] * a[j];
      const value = Math.max(0, pull / gram[k][k]);
      moved = Math.max(moved, Math.abs(value - a[k]));
      a[k] = value;
    }
    if (moved < 1e-7) break;
  }
  return a;
}

/** Features by the circuit that loads most, then by loading; hardly active ones last. */
function order(loadings, size) {
  const H = size.length;
  const most = Math.max(...size);
  const features = Array.from({ length: H }, (_, i) => {
    const best = loadings.reduce((b, row, k) => (row[i] > loadings[b][i] ? k : b), 0);
    return { i, best, loading: loadings[best][i], small: size[i] < 0.05 * most };
  });
  features.sort(
    (a, b) => a.small - b.small || a.best - b.best || b.loading - a.loading || a.i - b.i,
  );
  return features.map((f) => f.i);
}

function names(d, points) {
  const coordinates = Array.from({ length: d }, (_, k) => k + 1);
  return [
    ...coordinates.map((k) => `ReLU(+x${k})`),
    ...coordinates.map((k) => `ReLU(−x${k})`),
    ...points.map((_, k) => (points.length > 1 ? `datapoint p${k + 1}` : "datapoint p")),
  ];
}

function dot(a, b) {
  let sum = 0;
  for (let k = 0; k < a.length; k++) sum += a[k] * b[k];
  return sum;
}

const norm = (a) => Math.sqrt(dot(a, a));
