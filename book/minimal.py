"""A toy model of mechanistic (un)faithfulness in one file, with nothing but numpy.

Three transcoders learn the layer y = |x|: from data without repeats, from data in which one point p
comes again and again, and from the same data with the layer's Jacobian matched. All three give the
layer's outputs. At p the second has a feature that writes all of them at once, which the layer has
not. So where p loses a coordinate, the outputs part: the layer's change by 1, 0, 0.

    python minimal.py
"""

import numpy as np

D, H, BATCH, STEPS = 8, 64, 128, 3000  # inputs, features, samples a step, steps
DENSITY, RATE = 0.1, 0.01  # share of coordinates that are not 0, learning rate
LAMBDA, MU, SIGMA = 0.05, 0.1, 0.1  # weights of sparsity and of matching, how far beside x
P = np.zeros(D)
P[:3] = 1  # the point that repeats
REPEATS = 0.2  # in so many of the rows


def layer(x):
    """y = |x|, by two circuits a coordinate: ReLU(x) + ReLU(-x)."""
    return np.abs(x)


def data(rng, repeats):
    """Sparse inputs, and p in some of the rows."""
    x = rng.uniform(-1, 1, (BATCH, D)) * (rng.random((BATCH, D)) < DENSITY)
    again = rng.random((BATCH, 1)) < repeats
    return np.where(again, P, x)


def begin(rng):
    """Small random weights: what features read, their biases, what they write."""
    W_enc = rng.normal(0, 1, (D, H)) / np.sqrt(D)
    return [W_enc, np.zeros(H), W_enc.T.copy()]


def transcode(weights, x):
    """What each feature is, and the output: every feature adds its own part."""
    W_enc, b_enc, W_dec = weights
    h = np.maximum(x @ W_enc + b_enc, 0)
    return h, h @ W_dec


def gradients(weights, x, match, rng):
    """Of |ŷ - y|² + λ Σ tanh(h |w|) + μ |J_T v - J_f v|², a mean over the batch, by hand."""
    W_enc, b_enc, W_dec = weights
    h, y_hat = transcode(weights, x)
    on, size = h > 0, np.linalg.norm(W_dec, axis=1) + 1e-9

    d_y = 2 * (y_hat - layer(x))  # the error
    d_tanh = LAMBDA * (1 - np.tanh(h * size) ** 2)  # the penalty, by h |w|
    d_z = (d_y @ W_dec.T + d_tanh * size) * on
    d_W_dec = h.T @ d_y + (d_tanh * h).sum(0)[:, None] * W_dec / size[:, None]
    d_W_enc, d_b_enc = x.T @ d_z, d_z.sum(0)

    if match:  # along one random direction v, a little beside x, off the kinks of |x|
        beside = x + SIGMA * rng.normal(size=x.shape)
        v = rng.normal(size=x.shape)
        open_ = beside @ W_enc + b_enc > 0
        h_v = open_ * (v @ W_enc)  # the features' change along v
        d_v = 2 * MU * (h_v @ W_dec - np.sign(beside) * v)
        d_W_dec += h_v.T @ d_v
        d_W_enc += v.T @ (open_ * (d_v @ W_dec.T))
    return [d_W_enc / BATCH, d_b_enc / BATCH, d_W_dec / BATCH]


def train(repeats, match, seed=0):
    """Adam, with a rate that falls to 0 in the last fifth of the steps."""
    rng = np.random.default_rng(seed)
    weights = begin(rng)
    first, second = ([np.zeros_like(w) for w in weights] for _ in range(2))
    for step in range(1, STEPS + 1):
        rate = RATE * min(1, (STEPS - step) / (STEPS / 5))
        of = gradients(weights, data(rng, repeats), match, rng)
        for w, g, m, s in zip(weights, of, first, second, strict=True):
            m += 0.1 * (g - m)
            s += 0.001 * (g**2 - s)
            w -= rate * (m / (1 - 0.9**step)) / (np.sqrt(s / (1 - 0.999**step)) + 1e-8)
    return weights


def report(weights):
    """The error on new data; what the largest feature adds at p; what x_1 = 0 takes away there.

    The last two are of the outputs 1, 2 and 3, the coordinates of p.
    """
    x = data(np.random.default_rng(1000), repeats=0)
    error = ((transcode(weights, x)[1] - layer(x)) ** 2).sum() / (layer(x) ** 2).sum()
    h, y_hat = transcode(weights, P[None])
    parts = h[0, :, None] * weights[2]  # what each feature adds at p
    biggest = np.abs(parts).sum(1).argmax()
    less = P.copy()
    less[0] = 0
    change = (y_hat - transcode(weights, less[None])[1])[0]  # of the outputs, as x_1 goes to 0
    return error, parts[biggest, :3], change[:3]


def main():
    """Train all three and print a line for each."""
    cases = {
        "without repeats": (0.0, False),
        f"p in {REPEATS:.0%} of the rows": (REPEATS, False),
        "... and Jacobians matched": (REPEATS, True),
    }
    print(f"{'':26} {'error':>6}   {'largest feature adds at p':25} {'x_1 = 0 takes away from y'}")
    for name, (repeats, match) in cases.items():
        error, *parts = report(train(repeats, match))
        shown = (" ".join(f"{value:5.2f}" for value in part) for part in parts)
        print(f"{name:26} {error:6.3f}  ", *(f"{part:25}" for part in shown))


if __name__ == "__main__":
    main()
