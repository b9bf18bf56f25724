// The package's random numbers (faithnb/data/rng.py), and inputs made of them.

export const PURPOSES = ["init", "data", "noise", "probe", "evaluation", "variation", "blur"];

function mix(x) {
  x ^= x >>> 16;
  x = Math.imul(x, 0x7feb352d);
  x ^= x >>> 15;
  x = Math.imul(x, 0x846ca68b);
  return x ^ (x >>> 16);
}

/** Numbers that are a function of seed, purpose, step and place. */
export class Stream {
  constructor(seed, purpose) {
    const high = Math.floor(seed / 2 ** 31) & 0x7fffffff;
    const low = (seed % 2 ** 31) | 0;
    this.key = mix(mix(mix(high + 1) ^ low) ^ (PURPOSES.indexOf(purpose) + 1));
    this.step = -1;
    this.mixed = 0;
  }

  word(step, place) {
    if (step !== this.step) [this.step, this.mixed] = [step, mix(this.key ^ step)];
    return mix((mix((place + 0x2545f491) | 0) + this.mixed) | 0);
  }

  /** Uniform on (0, 1): an odd multiple of 2^-24. */
  uniform(step, place) {
    return ((this.word(step, place) >>> 9) * 2 + 1) / 2 ** 24;
  }

  /** The k-th of n standard normal numbers. */
  normal(step, k, n) {
    const radius = Math.sqrt(-2 * Math.log(this.uniform(step, k)));
    return radius * Math.cos(2 * Math.PI * this.uniform(step, n + k));
  }

  /** -1 or 1. */
  sign(step, k) {
    return (this.word(step, k >> 4) >>> (8 + (k & 15))) & 1 ? 1 : -1;
  }
}

/** Base samples of one step, row by row: U(-1, 1) with probability `density`, else 0. */
export function sampleBase(stream, step, rows, d, density, x) {
  for (let k = 0; k < rows * d; k++) {
    const value = 1 - stream.uniform(step, k) * (2 / density);
    x[k] = value > -1 ? value : 0;
  }
}
