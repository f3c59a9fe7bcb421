"""The notebook's network, its loss, gradients and dropout in NumPy, in float64."""

import gzip

import numpy as np

from mnist_dist.data import sources


def mnist(part):
    """The embedded "train" or "t10k" files: uint8 [images, 28, 28, 1], labels."""

    def read(name, head):
        data = gzip.decompress((sources.embedded_folder() / f"{part}-{name}.gz").read_bytes())
        return np.frombuffer(data, np.uint8, offset=head)

    return read("images-idx3-ubyte", 16).reshape(-1, 28, 28, 1), read("labels-idx1-ubyte", 8)


def conv(x, kernel, bias):
    """A valid convolution: x [n, h, w, c], kernel [k, k, c, f]; the windows are returned too."""
    size = kernel.shape[0]
    windows = np.lib.stride_tricks.sliding_window_view(x, (size, size), (1, 2))
    columns = windows.transpose(0, 1, 2, 4, 5, 3).reshape(*windows.shape[:3], -1)
    return columns @ kernel.reshape(-1, kernel.shape[3]) + bias, columns


def squares(x):
    """The 2x2 squares of "same" pooling: [n, h/2, w/2, c, 4], an odd side filled with -inf."""
    n, h, w, c = x.shape
    x = np.pad(x, ((0, 0), (0, h % 2), (0, w % 2), (0, 0)), constant_values=-np.inf)
    x = x.reshape(n, (h + 1) // 2, 2, (w + 1) // 2, 2, c)
    return x.transpose(0, 1, 3, 5, 2, 4).reshape(n, (h + 1) // 2, (w + 1) // 2, c, 4)


def unpool(gradient, parts, shape):
    """The gradient of max-pooling: each goes to the first largest of its square."""
    n, h, w, c, _ = parts.shape
    spread = np.zeros(parts.shape)
    np.put_along_axis(spread, parts.argmax(-1)[..., None], gradient[..., None], -1)
    spread = spread.reshape(n, h, w, c, 2, 2).transpose(0, 1, 4, 2, 5, 3)
    return spread.reshape(n, 2 * h, 2 * w, c)[:, : shape[1], : shape[2]]


def unconv(gradient, kernel, shape):
    """The gradient of a valid convolution by its input."""
    size, (_, h, w, _) = kernel.shape[0], gradient.shape
    spread = np.zeros(shape)
    for i in range(size):
        for j in range(size):
            spread[:, i : i + h, j : j + w] += gradient @ kernel[i, j].T
    return spread


def forward(weights, images, kept=1.0):
    """Logits [n, classes], and what `gradients` needs. `kept`: dropout's factors [n, units]."""
    x, seen = images / 255.0, []
    for name in ("conv1", "conv2"):
        y, columns = conv(x, weights[f"{name}/kernel"], weights[f"{name}/bias"])
        parts = squares(np.maximum(y, 0.0))
        seen.append((x.shape, y, columns, parts))
        x = parts.max(-1)
    flat = x.reshape(len(x), -1)
    hidden = flat @ weights["dense1/kernel"] + weights["dense1/bias"]
    dropped = np.maximum(hidden, 0.0) * kept
    logits = dropped @ weights["logits/kernel"] + weights["logits/bias"]
    return logits, (seen, x.shape, flat, hidden, dropped)


def losses(logits, labels):
    """Softmax cross-entropy of each row."""
    top = logits.max(1, keepdims=True)
    total = np.log(np.exp(logits - top).sum(1)) + top[:, 0]
    return total - logits[np.arange(len(labels)), labels]


def gradients(weights, images, labels, kept):
    """Of the mean loss, by each weight."""
    logits, (seen, shape, flat, hidden, dropped) = forward(weights, images, kept)
    share = np.exp(logits - logits.max(1, keepdims=True))
    share /= share.sum(1, keepdims=True)
    share[np.arange(len(labels)), labels] -= 1.0
    d = share / len(labels)
    found = {"logits/kernel": dropped.T @ d, "logits/bias": d.sum(0)}
    d = (d @ weights["logits/kernel"].T) * kept * (hidden > 0)
    found |= {"dense1/kernel": flat.T @ d, "dense1/bias": d.sum(0)}
    d = (d @ weights["dense1/kernel"].T).reshape(shape)
    for name, (before, y, columns, parts) in zip(("conv2", "conv1"), reversed(seen), strict=True):
        d = unpool(d, parts, y.shape) * (y > 0)
        kernel = weights[f"{name}/kernel"]
        by_kernel = np.tensordot(columns, d, ((0, 1, 2), (0, 1, 2)))
        found[f"{name}/kernel"] = by_kernel.reshape(kernel.shape)
        found[f"{name}/bias"] = d.sum((0, 1, 2))
        d = unconv(d, kernel, before)
    return found


def dropout(seed, step, rows, units, rate):
    """Factors of inverted dropout: 0 or 1 / (1 - rate), float64 [rows, units].

    Uniform numbers are the low 23 bits of Philox4x32-10's words (Salmon et al. 2011), with the
    seed as its key; the counter is the number's place in the global batch, and the step.
    """
    groups = -(-units // 4)
    place = np.arange(rows * groups, dtype=np.uint64)
    low32 = np.uint64(0xFFFFFFFF)
    shift = np.uint64(32)
    high = np.full_like(place, step * 256)
    c = [place & low32, place >> shift, high & low32, high >> shift]
    k = [seed & 0xFFFFFFFF, seed >> 32]
    for _ in range(10):
        a, b = c[0] * np.uint64(0xD2511F53), c[2] * np.uint64(0xCD9E8D57)
        c = [(b >> shift) ^ c[1] ^ np.uint64(k[0]), b & low32,
             (a >> shift) ^ c[3] ^ np.uint64(k[1]), a & low32]  # fmt: skip
        k = [(k[0] + 0x9E3779B9) & 0xFFFFFFFF, (k[1] + 0xBB67AE85) & 0xFFFFFFFF]
    words = np.stack(c, 1).reshape(rows, -1)[:, :units]
    uniform = (words & np.uint64(0x7FFFFF)) / 2.0**23
    return np.where(uniform >= rate, 1.0 / (1.0 - rate), 0.0)
