"""2x2 max-pooling with ReLU, channels last: `z [B, H, W C]`, `h [B, H // 2, W // 2, C]`, and their gradients.

A window's winner is the position (0 to 3, row by row) of the value that becomes h: the first of equal values, or the
last not-a-number, as in PyTorch.
"""

import numpy as np

from cbp_experiments.compiling import exact, inlined

SILENT = 4  # the winner where ReLU sets h to 0: no gradient passes


@inlined
def window(a: float, b: float, c: float, d: float) -> tuple[float, int]:
    """ReLU of the largest of a window's values, and the winner."""
    most, winner = a, 0
    wins = (b > most) | (b != b)
    most, winner = b if wins else most, 1 if wins else winner
    wins = (c > most) | (c != c)
    most, winner = c if wins else most, 2 if wins else winner
    wins = (d > most) | (d != d)
    most, winner = d if wins else most, 3 if wins else winner
    return 0.0 if most <= 0 else most, SILENT if most <= 0 else winner


@exact
def pool(z: np.ndarray, h: np.ndarray, winners: np.ndarray, most: np.ndarray, winner: np.ndarray) -> None:
    """Write h and the winners, int8 `[B, H // 2, W // 2, C]`; `most` and `winner [W C]` are work space.

    In a pair of rows, windows at odd columns are computed, too, although they are not used: a loop over a few channels
    is too short for vector instructions.
    """
    channels = h.shape[3]
    for b in range(h.shape[0]):
        for i in range(h.shape[1]):
            upper, lower = z[b, 2 * i], z[b, 2 * i + 1]
            upper_right, lower_right = upper[channels:], lower[channels:]
            for k in range(len(upper_right)):
                most[k], winner[k] = window(upper[k], upper_right[k], lower[k], lower_right[k])
            for j in range(h.shape[2]):
                most_here, winner_here = most[2 * j * channels :], winner[2 * j * channels :]
                for c in range(channels):
                    h[b, i, j, c], winners[b, i, j, c] = most_here[c], winner_here[c]


@exact
def pool_backward(gradient: np.ndarray, winners: np.ndarray, into: np.ndarray) -> None:
    """Write the whole gradient of z to `into [B, H, W, C]`. gradient: that of h."""
    height, width = gradient.shape[1], gradient.shape[2]
    for b in range(into.shape[0]):
        for i in range(height):
            for down in range(2):
                for j in range(width):
                    for right in range(2):
                        for c in range(gradient.shape[3]):
                            wins = winners[b, i, j, c] == 2 * down + right
                            into[b, 2 * i + down, 2 * j + right, c] = gradient[b, i, j, c] if wins else 0.0
                into[b, 2 * i + down, 2 * width :] = 0  # an odd row or column is in no window
        into[b, 2 * height :] = 0
