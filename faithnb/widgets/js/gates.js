// What an architecture makes of pre-activations: a ReLU, of which some are turned off.

/** The k-th largest of some numbers. */
export const kthLargest = (values, k) => Float64Array.from(values).sort()[values.length - k];

/** Hidden activations from pre-activations, in place: above 0, above each feature's `threshold` if
 * there are any, and among the `k` largest if there is a k. */
export function gated(z, { k, threshold }) {
  const least = k ? kthLargest(z, k) : 0;
  z.forEach((value, i) => {
    if (!(value > 0 && value >= least && value > (threshold ? threshold[i] : 0))) z[i] = 0;
  });
  return z;
}
