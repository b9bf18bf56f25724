// The package's training once more, for one transcoder in a page without a kernel.
//
// The same mathematics (faithnb/training/gradients.py), the same random numbers (random.js), the same
// optimiser: after the same steps the weights are those of `faithnb.train`, but for rounding. Zeros of
// the input and silent features are skipped, which is most of them.

import { kthLargest } from "./gates.js";
import { PURPOSES, Stream, sampleBase } from "./random.js";

const COPIES = 16; // rows a repeated point is split over when each row draws its own numbers

/** One transcoder in training; `experiment` has the fields of `faithnb.Experiment`. */
export class Trainer {
  constructor(experiment) {
    this.experiment = { ...experiment };
    const { d_in: d, d_sae: H, seed } = experiment;
    this.points = experiment.points.map((p) =>
      Float64Array.from({ length: d }, (_, k) => p[k] || 0),
    );
    this.streams = Object.fromEntries(PURPOSES.map((name) => [name, new Stream(seed, name)]));
    this.step = 0;
    this.W_enc = new Float64Array(d * H); // row k is what coordinate k gives each feature
    this.b_enc = new Float64Array(H);
    this.W_dec = new Float64Array(H * d); // row i is what feature i writes
    const init = this.streams.init;
    for (let k = 0; k < d * H; k++) this.W_enc[k] = init.normal(0, k, d * H) / Math.sqrt(d);
    for (let i = 0; i < H; i++) {
      let norm = 0;
      for (let k = 0; k < d; k++) {
        this.W_dec[i * d + k] = init.normal(1, i * d + k, H * d);
        norm += this.W_dec[i * d + k] ** 2;
      }
      for (let k = 0; k < d; k++) this.W_dec[i * d + k] /= Math.sqrt(norm);
    }
    this.weights = [this.W_enc, this.b_enc, this.W_dec];
    this.floor = new Float64Array(H); // above which a feature is on
    this.threshold = experiment.architecture === "jumprelu" ? this.floor : null;
    if (this.threshold) this.weights.push(this.threshold.fill(experiment.threshold_init));
    this.gradients = this.weights.map((w) => new Float64Array(w.length));
    this.moments = this.weights.map((w) => [
      new Float64Array(w.length),
      new Float64Array(w.length),
    ]);
    this.readers = new Float64Array(H * d); // W_enc, feature by feature
    this.dreaders = new Float64Array(H * d);
    this.n = 0; // features that are on at the last row
    this.given = new Int32Array(d);
    this.z = new Float64Array(H);
    this.u = new Float64Array(H);
    this.h = new Float64Array(H);
    this.dh = new Float64Array(H);
    this.on = new Int32Array(H);
    this.y = new Float64Array(d);
    this.dr = new Float64Array(d);
    this.moved = new Float64Array(d);
    this.v = new Float64Array(d);
    this.norms = new Float64Array(H);
    this.dnorm = new Float64Array(H);
  }

  /** Pre-activations at x into `z`; the features that are on into `on`; how many they are. */
  encode(x, at = 0) {
    const { d_in: d, d_sae: H } = this.experiment;
    const { W_enc, z, given } = this;
    z.set(this.b_enc);
    let m = 0; // coordinates that are not 0
    for (let k = 0; k < d; k++) if (x[at + k] !== 0) given[m++] = k;
    let j = 0;
    for (; j + 3 < m; j += 4) {
      // four at once take half the time
      const [v0, v1, v2, v3] = [
        x[at + given[j]],
        x[at + given[j + 1]],
        x[at + given[j + 2]],
        x[at + given[j + 3]],
      ];
      const [r0, r1, r2, r3] = [given[j] * H, given[j + 1] * H, given[j + 2] * H, given[j + 3] * H];
      for (let i = 0; i < H; i++) {
        z[i] += v0 * W_enc[r0 + i] + v1 * W_enc[r1 + i] + v2 * W_enc[r2 + i] + v3 * W_enc[r3 + i];
      }
    }
    for (; j < m; j++) {
      const [value, row] = [x[at + given[j]], given[j] * H];
      for (let i = 0; i < H; i++) z[i] += value * W_enc[row + i];
    }
    return this.gate();
  }

  /** The features that an architecture keeps, into `on`; how many they are. */
  gate() {
    const { z, on, floor, experiment } = this;
    let n = 0;
    for (let i = 0; i < z.length; i++) if (z[i] > floor[i]) on[n++] = i;
    if (experiment.architecture !== "topk" || n <= experiment.k) return n;
    const least = kthLargest(z, experiment.k);
    let kept = 0;
    for (let a = 0; a < n; a++) if (z[on[a]] >= least) on[kept++] = on[a];
    return kept;
  }

  /** What a threshold learns through its window of width ε: −(θ/ε) ∂L/∂h where z is within ε/2. */
  learnThresholds(ofHidden) {
    const { z, threshold } = this;
    const { bandwidth } = this.experiment;
    for (let i = 0; i < z.length; i++) {
      if (Math.abs(z[i] - threshold[i]) < bandwidth / 2)
        this.gradients[3][i] -= (threshold[i] / bandwidth) * ofHidden(i);
    }
  }

  /** One step of Adam; the terms of the loss before it. */
  update() {
    const e = this.experiment;
    const { d_in: d, d_sae: H, batch_size: B } = e;
    const matching = e.jacobian_matching !== "none" && e.jacobian_coefficient > 0;
    const drawn = e.jacobian_matching !== "none";
    const copies = drawn ? COPIES : 1;
    const rows = B + copies * this.points.length;
    if (!this.x || this.x.length !== rows * d) this.x = new Float64Array(rows * d);
    sampleBase(this.streams.data, this.step, B, d, e.density, this.x);
    for (let c = 0; c < copies; c++) {
      this.points.forEach((p, k) => this.x.set(p, (B + c * this.points.length + k) * d));
    }
    for (const gradient of this.gradients) gradient.fill(0);
    this.dnorm.fill(0);
    this.dreaders.fill(0);
    for (let i = 0; i < H; i++) {
      for (let k = 0; k < d; k++) this.readers[i * d + k] = this.W_enc[k * H + i];
    }
    for (let i = 0; i < H; i++) {
      let squares = 0;
      for (let k = 0; k < d; k++) squares += this.W_dec[i * d + k] ** 2;
      this.norms[i] = Math.sqrt(squares);
    }
    const terms = { reconstruction: 0, sparsity: 0, jacobian: 0 };
    const ofBase = (1 - e.repeat_frac) / B;
    const ofPoint = e.repeat_frac / Math.max(1, rows - B);
    for (let row = 0; row < rows; row++) {
      const weight = row < B ? ofBase : ofPoint;
      if (weight === 0) continue;
      this.reconstruct(row, weight, terms);
      if (matching) this.match(row, rows, weight, terms);
    }
    const [dW_enc, , dW_dec] = this.gradients;
    for (let i = 0; i < H; i++) {
      for (let k = 0; k < d; k++) dW_enc[k * H + i] += this.dreaders[i * d + k];
      if (this.dnorm[i] === 0) continue;
      const share = this.dnorm[i] / this.norms[i];
      for (let k = i * d; k < (i + 1) * d; k++) dW_dec[k] += share * this.W_dec[k];
    }
    this.adam();
    terms.loss = terms.reconstruction + terms.sparsity + terms.jacobian;
    return terms;
  }

  /** Reconstruction and sparsity at a row. */
  reconstruct(row, weight, terms) {
    const e = this.experiment;
    const { d_in: d, d_sae: H } = e;
    const { x, y, z, on, W_dec, norms, dnorm } = this;
    const [dW_enc, db_enc, dW_dec] = this.gradients;
    const at = row * d;
    const n = (this.n = this.encode(x, at));
    for (let k = 0; k < d; k++) y[k] = -Math.abs(x[at + k]);
    for (let a = 0; a < n; a++) {
      const i = on[a];
      for (let k = 0, w = i * d; k < d; k++) y[k] += z[i] * W_dec[w + k];
    }
    let error = 0;
    for (let k = 0; k < d; k++) error += y[k] * y[k];
    terms.reconstruction += weight * error;
    const tanh = e.sparsity_penalty === "tanh";
    const strength = e.sparsity_penalty === "none" ? 0 : weight * e.sparsity_coefficient;
    for (let a = 0; a < n; a++) {
      const i = on[a];
      const h = z[i];
      let dh = 0;
      for (let k = 0, w = i * d; k < d; k++) {
        dh += 2 * weight * y[k] * W_dec[w + k];
        dW_dec[w + k] += 2 * weight * y[k] * h;
      }
      if (strength) {
        const scale = tanh ? e.tanh_scale : 1;
        const t = tanh ? Math.tanh(scale * h * norms[i]) : h * norms[i];
        const slope = strength * scale * (tanh ? 1 - t * t : 1);
        terms.sparsity += strength * t;
        dh += slope * norms[i];
        dnorm[i] += slope * h;
      }
      db_enc[i] += dh;
      for (let k = 0; k < d; k++) if (x[at + k] !== 0) dW_enc[k * H + i] += dh * x[at + k];
    }
    if (!this.threshold) return;
    const scale = tanh ? e.tanh_scale : 1;
    this.learnThresholds((i) => {
      const h = z[i] > this.threshold[i] ? z[i] : 0;
      const t = tanh ? Math.tanh(scale * h * norms[i]) : 0;
      let dh = strength * scale * (1 - t * t) * norms[i];
      for (let k = 0, w = i * d; k < d; k++) dh += 2 * weight * y[k] * W_dec[w + k];
      return dh;
    });
  }

  /** The difference of Jacobians along one random direction, or of outputs after a small step.
   *
   * To be called after `reconstruct` for the same row: what is on at x itself is known from there.
   */
  match(row, rows, weight, terms) {
    const e = this.experiment;
    const { d_in: d, perturbation_scale: sigma, jacobian_matching: form } = e;
    const { x, v, moved, u, on, dr, readers, W_dec, dreaders } = this;
    const [, , dW_dec] = this.gradients;
    const at = row * d;
    for (let k = 0; k < d; k++) v[k] = this.streams.probe.sign(this.step, at + k);
    const strength = 2 * weight * e.jacobian_coefficient;
    if (form === "finite") {
      this.matchFinite(at, strength, terms);
      return;
    }
    let n = this.n;
    for (let k = 0; k < d; k++) moved[k] = x[at + k];
    if (form === "smoothed") {
      const { noise } = this.streams;
      for (let k = 0; k < d; k++) moved[k] += sigma * noise.normal(this.step, at + k, rows * d);
      n = this.encode(moved);
    }
    for (let k = 0; k < d; k++) {
      dr[k] = moved[k] === 0 ? (e.kink === "one" ? -v[k] : 0) : -Math.sign(moved[k]) * v[k];
    }
    for (let a = 0; a < n; a++) {
      const w = on[a] * d;
      let sum = 0;
      for (let k = 0; k < d; k++) sum += v[k] * readers[w + k];
      u[a] = sum;
      for (let k = 0; k < d; k++) dr[k] += sum * W_dec[w + k];
    }
    const masked = e.kink === "masked";
    for (let k = 0; masked && k < d; k++) {
      if (moved[k] !== 0) continue; // else its diagonal entry is left out
      for (let a = 0; a < n; a++) dr[k] -= v[k] * readers[on[a] * d + k] * W_dec[on[a] * d + k];
    }
    for (let k = 0; k < d; k++) {
      terms.jacobian += (strength / 2) * dr[k] * dr[k];
      dr[k] *= strength;
    }
    for (let a = 0; a < n; a++) {
      const w = on[a] * d;
      const along = u[a];
      let du = 0;
      for (let k = 0; k < d; k++) du += dr[k] * W_dec[w + k];
      for (let k = 0; k < d; k++) {
        dW_dec[w + k] += along * dr[k];
        dreaders[w + k] += v[k] * du;
      }
      for (let k = 0; masked && k < d; k++) {
        if (moved[k] !== 0) continue;
        dW_dec[w + k] -= v[k] * readers[w + k] * dr[k];
        dreaders[w + k] -= v[k] * W_dec[w + k] * dr[k];
      }
    }
  }

  matchFinite(at, strength, terms) {
    const { d_in: d, d_sae: H, perturbation_scale: sigma } = this.experiment;
    const { x, v, moved, z, on, dr, W_dec } = this;
    const [dW_enc, db_enc, dW_dec] = this.gradients;
    for (let k = 0; k < d; k++) moved[k] = x[at + k] + sigma * v[k];
    const r = this.y;
    const here = x.subarray(at, at + d);
    for (let k = 0; k < d; k++) r[k] = Math.abs(here[k]) - Math.abs(moved[k]);
    for (const [input, sign] of [
      [here, -1],
      [moved, 1],
    ]) {
      const n = this.encode(input);
      for (let a = 0; a < n; a++) {
        const i = on[a];
        for (let k = 0; k < d; k++) r[k] += sign * z[i] * W_dec[i * d + k];
      }
    }
    for (let k = 0; k < d; k++) {
      terms.jacobian += ((strength / 2) * r[k] * r[k]) / sigma ** 2;
      dr[k] = (strength * r[k]) / sigma ** 2;
    }
    for (const [input, sign] of [
      [here, -1],
      [moved, 1],
    ]) {
      const n = this.encode(input);
      for (let a = 0; a < n; a++) {
        const i = on[a];
        let dh = 0;
        for (let k = 0; k < d; k++) {
          dh += sign * dr[k] * W_dec[i * d + k];
          dW_dec[i * d + k] += sign * dr[k] * z[i];
        }
        db_enc[i] += dh;
        for (let k = 0; k < d; k++) dW_enc[k * H + i] += dh * input[k];
      }
      if (!this.threshold) continue;
      this.learnThresholds((i) => {
        let dh = 0;
        for (let k = 0; k < d; k++) dh += sign * dr[k] * W_dec[i * d + k];
        return dh;
      });
    }
  }

  /** The learning rate at a step, as a fraction of its height: rise, plateau, linear fall. */
  rate(step) {
    const { steps, warmup_frac, decay_frac } = this.experiment;
    const rise = warmup_frac * steps;
    const fall = decay_frac * steps;
    return Math.min(1, rise ? (step + 1) / rise : 1, fall ? (steps - step) / fall : 1);
  }

  adam() {
    const rate = this.experiment.learning_rate * this.rate(this.step);
    this.step += 1;
    const size = rate / (1 - 0.9 ** this.step);
    const root = Math.sqrt(1 - 0.999 ** this.step);
    this.weights.forEach((weight, j) => {
      const [m, s] = this.moments[j];
      const gradient = this.gradients[j];
      for (let k = 0; k < weight.length; k++) {
        const g = gradient[k];
        m[k] = 0.9 * m[k] + 0.1 * g;
        s[k] = 0.999 * s[k] + 0.001 * g * g;
        weight[k] -= (size * m[k]) / (Math.sqrt(s[k]) / root + 1e-8);
      }
    });
    this.threshold?.forEach((value, i) => (this.threshold[i] = Math.max(0, value)));
  }
}
