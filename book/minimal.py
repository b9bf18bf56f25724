"""Mechanistic (un)faithfulness in one file, with numpy alone.

Three transcoders learn the layer y = |x|: from data without repeats,
from data in which one point p comes again and again, and from the same
data with the layer's Jacobian matched. All three give the layer's
outputs. At p the second has one feature that writes all of them at
once, which the layer has not. So where p loses its first coordinate,
other outputs change than the layer's, or by another amount.

    python minimal.py
"""

import numpy as np

D, H = 8, 64  # inputs, features
BATCH, STEPS, RATE = 128, 3000, 0.01  # of training
DENSITY = 0.1  # share of coordinates that are not 0
LAMBDA, MU = 0.05, 0.1  # weights of sparsity and of matching
SIGMA = 0.1  # how far beside x Jacobians are matched
REPEATS = 0.2  # share of the rows that are p
P = np.zeros(D)
P[:3] = 1


def layer(x):
    """y = |x|, two circuits a coordinate: ReLU(x) + ReLU(-x)."""
    return np.abs(x)


def data(rng, repeats):
    """Sparse inputs, and p in some of the rows."""
    on = rng.random((BATCH, D)) < DENSITY
    x = on * rng.uniform(-1, 1, (BATCH, D))
    again = rng.random((BATCH, 1)) < repeats
    return np.where(again, P, x)


def begin(rng):
    """What features read, at random; no biases; what they write."""
    W_enc = rng.normal(0, 1, (D, H)) / np.sqrt(D)
    return [W_enc, np.zeros(H), W_enc.T.copy()]


def transcode(weights, x):
    """Features, and the output, to which each adds its own part."""
    W_enc, b_enc, W_dec = weights
    h = np.maximum(x @ W_enc + b_enc, 0)
    return h, h @ W_dec


def gradients(weights, x, match, rng):
    """Of |ŷ - y|² + λ Σ tanh(h |w|) + μ |J_T v - J_f v|², by hand.

    The mean over the batch; v is one random direction a row.
    """
    W_enc, b_enc, W_dec = weights
    h, y_hat = transcode(weights, x)
    size = np.linalg.norm(W_dec, axis=1) + 1e-9

    d_y = 2 * (y_hat - layer(x))  # the error
    d_part = LAMBDA * (1 - np.tanh(h * size) ** 2)  # the penalty
    d_z = (d_y @ W_dec.T + d_part * size) * (h > 0)
    d_size = (d_part * h).sum(0)
    d_W_dec = h.T @ d_y + (d_size / size)[:, None] * W_dec
    d_W_enc, d_b_enc = x.T @ d_z, d_z.sum(0)

    if match:  # a little beside x, where |x| has a derivative
        beside = x + SIGMA * rng.normal(size=x.shape)
        v = rng.normal(size=x.shape)
        on = beside @ W_enc + b_enc > 0
        h_v = on * (v @ W_enc)  # how the features change along v
        d_v = 2 * MU * (h_v @ W_dec - np.sign(beside) * v)
        d_W_dec += h_v.T @ d_v
        d_W_enc += v.T @ (on * (d_v @ W_dec.T))
    return [d_W_enc / BATCH, d_b_enc / BATCH, d_W_dec / BATCH]


def train(repeats, match, seed=0):
    """Adam; its rate falls to 0 in the last fifth of the steps."""
    rng = np.random.default_rng(seed)
    weights = begin(rng)
    means = [np.zeros_like(w) for w in weights]
    squares = [np.zeros_like(w) for w in weights]
    for step in range(1, STEPS + 1):
        rate = RATE * min(1, 5 * (STEPS - step) / STEPS)
        of = gradients(weights, data(rng, repeats), match, rng)
        for w, g, m, s in zip(weights, of, means, squares, strict=True):
            m += 0.1 * (g - m)
            s += 0.001 * (g**2 - s)
            s_hat = s / (1 - 0.999**step)
            w -= rate * (m / (1 - 0.9**step)) / (np.sqrt(s_hat) + 1e-8)
    return weights


def report(weights):
    """The error on new data, and two answers at p, in y_1, y_2, y_3.

    What the largest feature adds, and what x_1 = 0 takes away.
    """
    x = data(np.random.default_rng(1000), repeats=0)
    wrong = transcode(weights, x)[1] - layer(x)
    error = (wrong**2).sum() / (layer(x) ** 2).sum()
    h, y_hat = transcode(weights, P[None])
    parts = h[0, :, None] * weights[2]  # what each feature adds
    largest = parts[np.abs(parts).sum(1).argmax()]
    without = P * (np.arange(D) > 0)
    change = (y_hat - transcode(weights, without[None])[1])[0]
    return error, largest[:3], change[:3]


def main():
    """Train all three and print a line for each."""
    cases = {
        "without repeats": (0.0, False),
        f"p in {REPEATS:.0%} of the rows": (REPEATS, False),
        "... and Jacobians matched": (REPEATS, True),
    }
    titles = "largest feature adds at p", "x_1 = 0 takes away"
    print(f"{'':26} {'error':>6}   {titles[0]:26} {titles[1]}")
    for name, (repeats, match) in cases.items():
        error, *parts = report(train(repeats, match))
        parts = ["".join(f"{v:6.2f}" for v in part) for part in parts]
        print(f"{name:26} {error:6.3f}  {parts[0]:26}{parts[1]}")


if __name__ == "__main__":
    main()
