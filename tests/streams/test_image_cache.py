import hashlib
import json
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from cbp_experiments.errors import ConfigError
from cbp_experiments.streams import image_cache

PIXELS = np.random.default_rng(0).integers(0, 256, (2, 4, 3, 32, 32), dtype=np.uint8)


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    image_cache.write(tmp_path, {"cat": PIXELS[0], "dog": PIXELS[1]}, {"images": 4})
    return tmp_path


def images_file(cache: Path) -> Path:
    return next(cache.glob("images-*.npy"))


def error_of(folder: Path) -> str:
    with pytest.raises(ConfigError) as error:
        image_cache.load(folder)
    assert "\n" not in str(error.value)
    return str(error.value)


def test_what_was_written_is_read(cache: Path) -> None:
    loaded = image_cache.load(cache)
    np.testing.assert_array_equal(loaded.images, PIXELS)
    assert isinstance(loaded.images, np.memmap)
    assert not loaded.images.flags.writeable
    assert loaded.names == ("cat", "dog")
    assert loaded.checksum == f"sha256:{hashlib.sha256(PIXELS.tobytes()).hexdigest()}"
    np.testing.assert_array_equal(np.load(images_file(cache), allow_pickle=False), PIXELS)


def test_the_home_folder(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(cache.parent))
    monkeypatch.setenv("USERPROFILE", str(cache.parent))
    assert image_cache.load(Path("~") / cache.name).names == ("cat", "dog")


def test_without_a_cache(tmp_path: Path) -> None:
    message = error_of(tmp_path / "imagenet32")
    assert message.startswith(f"there is no image cache in {tmp_path / 'imagenet32'}: make it with ")
    assert f"cbp-prepare-imagenet SOURCE --output {tmp_path / 'imagenet32'}" in message
    assert "use data.source=cifar100 or data.source=synthetic" in message


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)


def change_index(cache: Path, **changes: object) -> None:
    path = cache / "classes.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (lambda cache: flip(images_file(cache)), "wrong checksum of images-"),
        (lambda cache: os.truncate(images_file(cache), 5000), "mmap length"),
        (lambda cache: os.truncate(images_file(cache), 0), "EOF"),
        (lambda cache: images_file(cache).write_bytes(b"PK\x03\x04 and so on"), "magic string"),
        (lambda cache: np.save(images_file(cache), PIXELS.astype(np.float32)), "holds float32 [2, 4, 3, 32, 32]"),
        (lambda cache: np.save(images_file(cache), PIXELS.reshape(-1)), "holds uint8 [24576]"),
        (lambda cache: images_file(cache).unlink(), "is missing"),
        (lambda cache: (cache / "classes.json").write_text("{"), "Expecting"),
        (lambda cache: change_index(cache, format=2), "classes.json is not of format 1"),
        (lambda cache: change_index(cache, checksum="../../x"), "no checksum in classes.json"),
        (lambda cache: change_index(cache, classes=["cat"]), "2 classes of images, 1 names"),
        (lambda cache: change_index(cache, classes="ab"), "no class names in classes.json"),
    ],
)
def test_a_damaged_cache_is_one_line(cache: Path, damage: Callable[[Path], object], reason: str) -> None:
    image_cache.load(cache)
    damage(cache)
    message = error_of(cache)
    assert message.startswith(f"{cache} is not a whole image cache (")
    assert reason in message
    assert message.endswith(f"make it again with cbp-prepare-imagenet SOURCE --output {cache} --force")


def test_a_file_is_hashed_once(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    image_cache.load(cache)

    def fail(_: object) -> str:
        raise AssertionError("hashed again")

    monkeypatch.setattr(image_cache, "checksum", fail)
    assert image_cache.load(cache).names == ("cat", "dog")


def test_a_large_file_is_hashed_with_a_line(
    cache: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(image_cache, "LARGE", 1000)
    os.utime(images_file(cache), (1, 1))
    image_cache.load(cache)
    assert capsys.readouterr().out.startswith(f"verifying the checksum of {images_file(cache)}")


def test_another_cache_takes_its_place(cache: Path) -> None:
    (cache / "images-of-mine.npy").write_bytes(b"")
    image_cache.write(cache, {"dog": PIXELS[1], "cat": PIXELS[0], "fish": PIXELS[0]}, {})
    assert image_cache.load(cache).names == ("dog", "cat", "fish")
    assert len(list(cache.glob("images-????????.npy"))) == 1
    assert (cache / "images-of-mine.npy").exists()
