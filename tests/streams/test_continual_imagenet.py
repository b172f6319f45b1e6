"""Continual ImageNet: pairs of classes, orders of images, and what is refused."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cbp_experiments.errors import ConfigError
from cbp_experiments.streams import Examples, Stream
from cbp_experiments.streams.base import PROBE_EXAMPLES
from cbp_experiments.streams.continual_imagenet import ClassPairs, ContinualImageNet


def numbered(classes: int = 6, images: int = 10, **keys: Any) -> ClassPairs:
    """Images of one pixel, which holds the class, and a second one, which holds the image."""
    by_class = np.stack(np.meshgrid(np.arange(classes), np.arange(images), indexing="ij"), axis=2).astype(np.uint8)
    sizes = {"tasks": 9, "task_length": 42, "batch_size": 7, "train_images": 7, "test_images": 3}
    return ClassPairs(by_class, **(sizes | keys))


def examples(stream: ClassPairs, seed: int, task: int) -> Examples:
    drawn = stream.task(seed, task).examples
    assert drawn is not None
    return drawn


def passes(stream: ClassPairs, seed: int) -> list[list[tuple[int, int]]]:
    per_pass = len(stream.by_class) // 2
    return [[stream.pair(seed, number * per_pass + place) for place in range(per_pass)] for number in range(4)]


@pytest.mark.parametrize("fresh", [True, False])
def test_every_class_comes_once_in_each_pass(fresh: bool) -> None:
    for pairs in passes(numbered(fresh=fresh), seed=3):
        assert sorted(label for pair in pairs for label in pair) == list(range(6))


def test_pairs_are_drawn_anew_on_each_pass_or_repeated() -> None:
    fresh, repeated = passes(numbered(40), seed=3), passes(numbered(40, fresh=False), seed=3)
    assert len({frozenset(map(frozenset, pairs)) for pairs in fresh}) == 4
    assert repeated == [fresh[0]] * 4


def test_an_odd_class_is_left_over_in_a_pass() -> None:
    for pairs in passes(numbered(7), seed=0):
        assert len({label for pair in pairs for label in pair}) == 6


def test_seeds_have_pairs_and_orders_of_their_own() -> None:
    stream = numbered(40)
    assert passes(stream, 0) != passes(stream, 1)
    orders = [stream.task(seed, task).order for seed in (0, 1) for task in (0, 1)]
    assert len({order.tobytes() for order in orders}) == 4
    np.testing.assert_array_equal(orders[0], numbered(40).task(0, 0).order)


def test_a_task_has_the_first_images_for_training_and_the_next_for_testing() -> None:
    stream: Stream = numbered()
    task, (first, second) = stream.task(0, 2), numbered().pair(0, 2)
    assert task.examples is not None
    images, labels = task.examples.images, task.examples.labels
    np.testing.assert_array_equal(images[:, 0], np.where(labels == 0, first, second))
    train, test = task.tests["train_accuracy"], task.tests["accuracy"]
    assert sorted(images[train, 1]) == sorted([*range(7)] * 2)
    assert sorted(images[test, 1]) == sorted([*range(7, 10)] * 2)
    assert np.bincount(labels[train]).tolist() == [7, 7]
    assert np.bincount(labels[test]).tolist() == [3, 3]
    assert task.new_head


def test_every_epoch_presents_all_training_images_once_in_a_new_order() -> None:
    task = numbered().task(0, 0)
    epochs = task.order.reshape(3, 14)
    for epoch in epochs:
        assert sorted(epoch) == sorted(task.tests["train_accuracy"])
    assert len({epoch.tobytes() for epoch in epochs}) == 3


@pytest.mark.parametrize(("train_images", "count"), [(7, 14), (1001, PROBE_EXAMPLES)])
def test_the_metrics_look_at_training_images_of_the_new_task(train_images: int, count: int) -> None:
    rows = numbered(images=1004, train_images=train_images).probe(0, 0)
    assert len(set(rows)) == len(rows) == count
    assert set(rows) <= set(range(2 * train_images))


def test_a_shortened_stream_has_shorter_tasks_of_the_same_images() -> None:
    short = numbered().shortened(5)
    np.testing.assert_array_equal(short.task(1, 3).order, numbered().task(1, 3).order[:5])
    np.testing.assert_array_equal(examples(short, 1, 3).images, examples(numbered(), 1, 3).images)


def test_loaded_stream_carries_the_configuration() -> None:
    config = ContinualImageNet(
        tasks=7, epochs=3, batch_size=10, train_images=20, test_images=5, source="synthetic", synthetic_classes=4
    )
    stream: Stream = config.load()
    assert (stream.tasks, stream.task_length, stream.batch_size, stream.classes) == (7, 120, 10, 2)
    assert stream.images.shape == (100, 3072)
    assert stream.labels.tolist() == sorted([*range(4)] * 25)
    assert "synthetic" in stream.description
    assert stream.checksum.startswith("sha256:")


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"source": "mnist"}, "data.source must be one of imagenet, cifar100, synthetic, got 'mnist'"),
        ({"pairs": "all"}, "data.pairs must be one of fresh, repeated, got 'all'"),
        ({"root": " "}, "data.root must name a folder, got nothing; for the current one: data.root=."),
        ({"epochs": 0}, "data.epochs must be at least 1, got 0"),
        ({"test_images": 0}, "data.test_images must be at least 1, got 0"),
        ({"synthetic_classes": 1}, "data.synthetic_classes must be at least 2, got 1"),
        (
            {"batch_size": 70},
            "data.batch_size=70 does not divide the 1200 training images of a task (2 x data.train_images); "
            "change one of them",
        ),
    ],
)
def test_bad_values_are_named_as_the_user_typed_them(values: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError) as error:
        ContinualImageNet(tasks=2, **values)
    assert str(error.value) == message


def test_without_data_there_are_two_ways_on(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as error:
        ContinualImageNet(tasks=2, root=str(tmp_path)).load()
    assert "cbp-prepare-imagenet" in str(error.value)
    assert "data.source=synthetic" in str(error.value)


def test_more_images_than_there_are_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from cbp_experiments.streams import continual_imagenet, image_sources

    monkeypatch.setattr(continual_imagenet, "load_images", lambda *_, **__: image_sources.synthetic(3, 30))
    with pytest.raises(ConfigError, match="are more than the 30 images of a class: there are 90 synthetic images of 3"):
        ContinualImageNet(tasks=2, train_images=50, test_images=10).load()
