import hashlib
import io
import pickle
import tarfile
from collections.abc import Callable
from pathlib import Path
from urllib.error import URLError

import numpy as np
import pytest

from cbp_experiments.errors import ConfigError
from cbp_experiments.streams import image_cache, image_sources
from cbp_experiments.streams.image_sources import load_images

CLASSES, TRAIN, TEST = 4, 5, 2
PIXELS = np.random.default_rng(0).integers(0, 256, (CLASSES, TRAIN + TEST, 3, 32, 32), dtype=np.uint8)
NAMES = ["apple", "bee", "cloud", "dolphin"]


def cifar_file(images: slice, seed: int) -> bytes:
    """A file of CIFAR-100 with these images of each class, the classes mixed."""
    chosen = PIXELS[:, images]
    labels = np.random.default_rng(seed).permutation(np.repeat(np.arange(CLASSES), chosen.shape[1]))
    place = [np.sum(labels[:i] == label) for i, label in enumerate(labels)]
    content = {"data": chosen[labels, place].reshape(-1, 3072), "fine_labels": labels.tolist(), "batch_label": "one"}
    return pickle.dumps(content, protocol=2)


FILES = {
    "train": cifar_file(slice(0, TRAIN), 1),
    "test": cifar_file(slice(TRAIN, None), 2),
    "meta": pickle.dumps({"fine_label_names": NAMES}, protocol=2),
}
MD5 = {name: hashlib.md5(content).hexdigest() for name, content in FILES.items()}


def archive() -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w:gz") as tar:
        for name, content in FILES.items():
            member = tarfile.TarInfo(f"cifar-100-python/{name}")
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return file.getvalue()


def unpack(root: Path) -> Path:
    folder = root / "cifar-100-python"
    folder.mkdir(parents=True)
    for name, content in FILES.items():
        (folder / name).write_bytes(content)
    return folder


def check(root: Path) -> None:
    images = image_sources.cifar100(root, MD5)
    np.testing.assert_array_equal(images.images, PIXELS)
    assert images.names == tuple(NAMES)
    assert images.description == "28 CIFAR-100 images of 4 classes"
    assert images.checksum == f"sha256:{hashlib.sha256(PIXELS.tobytes()).hexdigest()}"
    assert not images.images.flags.writeable


def error_of(root: Path) -> str:
    with pytest.raises(ConfigError) as error:
        image_sources.cifar100(root, MD5)
    assert "\n" not in str(error.value)
    return str(error.value)


@pytest.fixture
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise URLError("Name or service\nnot known")

    monkeypatch.setattr("torchvision.datasets.utils.download_url", fail)


def test_cifar100_unpacked(tmp_path: Path) -> None:
    unpack(tmp_path)
    check(tmp_path)


def test_cifar100_packed(tmp_path: Path) -> None:
    (tmp_path / "cifar-100-python.tar.gz").write_bytes(archive())
    check(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["cifar-100-python.tar.gz"], "nothing is unpacked"


def test_cifar100_is_downloaded_when_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = []

    def download(url: str, root: str, md5: str) -> None:
        asked.append((url, md5))
        Path(root, url.rsplit("/", 1)[1]).write_bytes(archive())

    monkeypatch.setattr("torchvision.datasets.CIFAR100.url", "https://example.org/cifar-100-python.tar.gz")
    monkeypatch.setattr("torchvision.datasets.CIFAR100.tgz_md5", "0")
    monkeypatch.setattr("torchvision.datasets.utils.download_url", download)
    check(tmp_path / "root")
    check(tmp_path / "root")
    assert asked == [("https://example.org/cifar-100-python.tar.gz", "0")]
    assert capsys.readouterr().out == f"downloading cifar-100-python.tar.gz into {tmp_path / 'root'}\n"


def test_the_checksums_are_torchvisions() -> None:
    from torchvision.datasets import CIFAR100

    files = [*CIFAR100.train_list, *CIFAR100.test_list, [CIFAR100.meta["filename"], CIFAR100.meta["md5"]]]
    assert dict(files) == image_sources.CIFAR100_FILES


def test_cifar100_without_files_and_network(tmp_path: Path, no_network: None) -> None:
    assert error_of(tmp_path) == (
        f"CIFAR-100's cifar-100-python.tar.gz is not in data.root={tmp_path} and cannot be downloaded "
        f"(<urlopen error Name or service not known>): put it into {tmp_path}, or use data.source=synthetic"
    )
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("damage", [lambda content: content[:-3], lambda content: b"", lambda content: content + b"0"])
def test_cifar100_with_a_damaged_file(tmp_path: Path, name: str, damage: Callable[[bytes], bytes]) -> None:
    folder = unpack(tmp_path)
    (folder / name).write_bytes(damage(FILES[name]))
    assert error_of(tmp_path) == (
        f"{folder} is not CIFAR-100 as published (wrong checksum of {name}): "
        "delete it and run again to download it again"
    )


@pytest.mark.parametrize(
    "damage",
    [
        lambda packed: packed[: len(packed) // 2],
        lambda packed: b"",
        lambda packed: b"<html>",
        lambda packed: packed[:40] + bytes(40) + packed[80:],
    ],
    ids=["half", "empty", "not gzipped", "hole"],
)
def test_cifar100_with_a_damaged_archive(tmp_path: Path, damage: Callable[[bytes], bytes]) -> None:
    path = tmp_path / "cifar-100-python.tar.gz"
    path.write_bytes(damage(archive()))
    assert error_of(tmp_path).startswith(f"{path} is not CIFAR-100 as published (")


def test_cifar100_lacking_a_file_is_read_from_the_archive(tmp_path: Path) -> None:
    (unpack(tmp_path) / "meta").unlink()
    (tmp_path / "cifar-100-python.tar.gz").write_bytes(archive())
    check(tmp_path)


def test_synthetic_images_are_the_same_every_time() -> None:
    images = load_images("synthetic", "nowhere", synthetic_classes=3, synthetic_images=20)
    again = load_images("synthetic", "nowhere", synthetic_classes=4, synthetic_images=20)
    np.testing.assert_array_equal(images.images, again.images[:3])
    # The same bytes on every machine: results from two are compared by this checksum.
    assert images.checksum == "sha256:2ef2faa19c377af4da1062478a4c33caf285e4b44b61957c46ab8c871879b75b"
    assert images.images.shape == (3, 20, 3, 32, 32)
    assert images.images.dtype == np.uint8
    assert images.names == ("pattern 0", "pattern 1", "pattern 2")
    assert images.description == "60 synthetic images of 3 classes"
    assert len(np.unique(images.images.reshape(60, -1), axis=0)) == 60


def test_a_linear_learner_gets_most_synthetic_images_right_but_not_all() -> None:
    """Ridge regression to +1 and -1 on 200 images a class, tested on 100 others."""
    images = image_sources.synthetic(2, 300).images.reshape(2, 300, -1) / 255 - 0.5
    train, test = images[:, :200].reshape(400, -1), images[:, 200:].reshape(200, -1)
    weights = np.linalg.solve(train @ train.T + 100 * np.eye(400), np.repeat([1.0, -1.0], 200))
    accuracy = np.mean((test @ train.T @ weights > 0) == np.repeat([True, False], 100))
    assert 0.6 < accuracy < 0.97


def test_synthetic_images_of_an_impossible_size() -> None:
    with pytest.raises(ConfigError, match="at least 2 classes and 1 image, got 1 and 5"):
        image_sources.synthetic(1, 5)
    with pytest.raises(ConfigError, match=r"too much for a memory of .* GB: take fewer data\.train_images"):
        image_sources.synthetic(1000, 10**9)


def test_imagenet_is_the_cache_below_the_root(tmp_path: Path) -> None:
    image_cache.write(tmp_path / "imagenet32", {"cat": PIXELS[0], "dog": PIXELS[1]}, {})
    assert load_images("imagenet", tmp_path).names == ("cat", "dog")
    with pytest.raises(ConfigError, match=r"there is no image cache in .*imagenet32: make it with cbp-prep"):
        load_images("imagenet", tmp_path / "elsewhere")


def test_an_unknown_source() -> None:
    with pytest.raises(ConfigError, match=r"data.source must be one of imagenet, cifar100, synthetic, got 'cifar'"):
        load_images("cifar", ".")
