// The largest error of a transcoder of |x| on a box, by visiting every corner of its linear regions.
//
// The error of an output is linear between the planes z_i = 0, where a feature switches, and x_k = 0,
// where the layer bends. So |ŷ_j − y_j| is largest at a corner: a point of the box in which as many planes
// or faces meet as coordinates vary. A second method beside faithnb/certify, which splits boxes. Planes that are
// parallel to 1e-12 are taken as parallel: in the box they differ by no more than rounding does.

import { Stream } from "./random.js";

const PARALLEL = 1e-12;
const MOST_CORNERS = 4e6; // some ten seconds

/** Inputs to hold a certificate against. */
export const SAMPLES = 20_000;

/** ŷ and y of every output at x, which gives the coordinates `at`; the others are 0. */
export function outputs({ d, H, W_enc, b_enc, W_dec }, at, x) {
  const [transcoder, layer] = [new Float64Array(d), new Float64Array(d)];
  at.forEach((k, l) => (layer[k] = Math.abs(x[l])));
  for (let i = 0; i < H; i++) {
    let z = b_enc[i];
    for (let l = 0; l < at.length; l++) z += x[l] * W_enc[at[l] * H + i];
    if (z > 0) for (let k = 0; k < d; k++) transcoder[k] += z * W_dec[i * d + k];
  }
  return { transcoder, layer };
}

/** The largest error of any output at x, and which output it is. */
function errorAt(net, at, x) {
  const { transcoder, layer } = outputs(net, at, x);
  let [error, output] = [0, 0];
  for (let k = 0; k < net.d; k++) {
    const here = Math.abs(transcoder[k] - layer[k]);
    if (here > error) [error, output] = [here, k];
  }
  return { error, output };
}

/** The features that are on somewhere in the box and write something. */
function relevant({ d, H, W_enc, b_enc, W_dec }, at) {
  const kept = [...Array(H).keys()].filter((i) => {
    const reach = at.reduce((sum, k) => sum + Math.abs(W_enc[k * H + i]), 0);
    return b_enc[i] + reach > 0 && W_dec.subarray(i * d, (i + 1) * d).some((w) => w !== 0);
  });
  const n = kept.length;
  return {
    d,
    H: n,
    W_enc: Float64Array.from(
      { length: d * n },
      (_, e) => W_enc[Math.floor(e / n) * H + kept[e % n]],
    ),
    b_enc: Float64Array.from(kept, (i) => b_enc[i]),
    W_dec: Float64Array.from(
      { length: n * d },
      (_, e) => W_dec[kept[Math.floor(e / d)] * d + (e % d)],
    ),
  };
}

/** The planes through the box in which the error bends, each `read · x + bias = 0`, then its faces. */
function planesOf({ H, W_enc, b_enc }, at) {
  const unit = (k) => at.map((_, l) => (l === k ? 1 : 0));
  const kinks = at.map((_, k) => ({ read: unit(k), bias: 0 }));
  for (let i = 0; i < H; i++) {
    const read = at.map((k) => W_enc[k * H + i]);
    const scale = Math.max(...read.map(Math.abs));
    const reach = read.reduce((sum, w) => sum + Math.abs(w), 0);
    if (Math.abs(b_enc[i]) < reach)
      kinks.push({ read: read.map((w) => w / scale), bias: b_enc[i] / scale });
  }
  const faces = at.flatMap((_, k) => [-1, 1].map((bias) => ({ read: unit(k), bias })));
  return { kinks, planes: [...kinks, ...faces] };
}

const along = (a, b) => a.reduce((sum, v, l) => sum + v * b[l], 0);

/** The part of a flat `origin + Σ t_l basis_l` that lies in a plane; null if they are parallel. */
function cut({ origin, basis }, { read, bias }) {
  const slopes = basis.map((one) => along(one, read));
  const k = slopes.reduce((best, s, l) => (Math.abs(s) > Math.abs(slopes[best]) ? l : best), 0);
  if (Math.abs(slopes[k]) < PARALLEL) return null;
  const moved = (v, by) => v.map((value, l) => value - (by / slopes[k]) * basis[k][l]);
  return {
    origin: moved(origin, along(origin, read) + bias),
    basis: basis.map((one, l) => moved(one, slopes[l])).filter((_, l) => l !== k),
  };
}

/** The lines in which planes meet, and the number of the plane after the last of them. */
function* lines(planes, flat, next = 0) {
  if (flat.basis.length === 1) {
    yield { origin: flat.origin, way: flat.basis[0], next };
    return;
  }
  for (let k = next; k < planes.length; k++) {
    const inner = cut(flat, planes[k]);
    if (inner) yield* lines(planes, inner, k + 1);
  }
}

/** From where to where a line is in the box [−1, 1]^m; null where it misses it. */
function inBox({ origin, way }) {
  let [from, to] = [-Infinity, Infinity];
  for (let l = 0; l < way.length; l++) {
    if (Math.abs(way[l]) < PARALLEL) {
      if (Math.abs(origin[l]) > 1 + 1e-9) return null;
      continue;
    }
    const ends = [(-1 - origin[l]) / way[l], (1 - origin[l]) / way[l]];
    from = Math.max(from, Math.min(...ends));
    to = Math.min(to, Math.max(...ends));
  }
  return from <= to ? [from, to] : null;
}

/** Where a line meets the faces and the planes after those in which it lies. */
function cornersOn(line, kinks) {
  const ends = inBox(line);
  if (!ends) return [];
  const found = [...ends];
  for (let k = line.next; k < kinks.length; k++) {
    const slope = along(line.way, kinks[k].read);
    if (Math.abs(slope) < PARALLEL) continue;
    const t = -(along(line.origin, kinks[k].read) + kinks[k].bias) / slope;
    if (t > ends[0] && t < ends[1]) found.push(t);
  }
  return found.map((t) =>
    line.origin.map((v, l) => Math.min(1, Math.max(-1, v + t * line.way[l]))),
  );
}

function choose(n, k) {
  let ways = 1;
  for (let j = 0; j < k; j++) ways *= (n - j) / (j + 1);
  return ways;
}

/** The largest |ŷ_j − y_j| over outputs j and inputs whose coordinates `at` are in [−1, 1] and whose others are 0.
 *
 * A generator, so that whoever asks can do something else in between: it yields the share of the lines that
 * are done, and returns { error, output, witness, corners, kinks }, or { refused: sentence }.
 */
export function* worstError(whole, at) {
  const weights = [whole.W_enc, whole.b_enc, whole.W_dec];
  if (!weights.every((w) => w.every(Number.isFinite)))
    return { refused: "Nothing can be certified: some weights are not finite." };
  const net = relevant(whole, at);
  const { kinks, planes } = planesOf(net, at);
  const most = choose(planes.length, at.length);
  if (most > MOST_CORNERS) {
    const count = Number(most.toPrecision(2)).toLocaleString("en");
    return {
      refused: `Not computed here: up to ${count} corners would have to be visited. faithnb.certify.worst_error does it by splitting the box.`,
    };
  }
  const found = { error: -1, output: 0, witness: null, corners: 0, kinks: kinks.length };
  const [total, basis] = [choose(planes.length, at.length - 1), planes.slice(0, at.length)];
  let done = 0;
  const space = { origin: at.map(() => 0), basis: basis.map(({ read }) => read) };
  for (const line of lines(planes, space)) {
    for (const x of cornersOn(line, kinks)) {
      const here = errorAt(net, at, x);
      found.corners += 1;
      if (here.error > found.error) Object.assign(found, here, { witness: x });
    }
    if (++done % 16 === 0) yield done / total;
  }
  return found;
}

/** The largest error at random inputs of the box. */
export function sampledError(net, at, samples = SAMPLES) {
  const stream = new Stream(0, "evaluation");
  const found = { error: -1 };
  for (let row = 0; row < samples; row++) {
    const x = at.map((_, l) => 2 * stream.uniform(1, row * at.length + l) - 1);
    const here = errorAt(net, at, x);
    if (here.error > found.error) Object.assign(found, here, { witness: x });
  }
  return found;
}

/** Everything a page shows of a certificate: also outputs at p and at the witness, and on the line through both. */
export function* certificate(net, p, at) {
  const found = yield* worstError(net, at);
  if (found.refused) return found;
  const point = at.map((k) => p[k]);
  const same = point.every((v, l) => Math.abs(v - found.witness[l]) < 1e-9);
  const start = same ? point.map(() => 0) : point;
  const line = Array.from({ length: 201 }, (_, n) => {
    const t = n / 200;
    const x = start.map((v, l) => v + t * (found.witness[l] - v));
    const { transcoder, layer } = outputs(net, at, x);
    return { t, transcoder: transcoder[found.output], layer: layer[found.output] };
  });
  const both = { p: outputs(net, at, point), witness: outputs(net, at, found.witness) };
  const atP = { ...errorAt(net, at, point), witness: point };
  return { ...found, at, point: atP, sampled: sampledError(net, at), both, line, fromP: !same };
}
