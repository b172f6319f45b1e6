"""Sources that are damaged, hostile, or not what they seem: one line, or left out with one."""

import io
import os
import pickle
import struct
import tarfile
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cbp_experiments.preparing.command import main
from cbp_experiments.preparing.pictures import BrokenImage, decode
from cbp_experiments.streams import image_cache
from tests import imagenets
from tests.imagenets import NAMES, PIXELS

Capture = pytest.CaptureFixture[str]


def prepare(source: Path, *options: str) -> int:
    return main([str(source), "--output", str(source.parent / "cache"), "--workers", "1", *options])


def error_of(source: Path, capture: Capture, *options: str) -> str:
    capture.readouterr()
    assert prepare(source, *options) == 2
    err = capture.readouterr().err
    assert err.startswith("error: ")
    assert err.count("\n") == 1
    assert not (source.parent / "cache" / "classes.json").exists()
    return err.removeprefix("error: ").strip()


def images_of(source: Path) -> np.ndarray:
    return image_cache.load(source.parent / "cache").images


def test_other_files_are_ignored_with_a_count(tmp_path: Path, capsys: Capture) -> None:
    source = imagenets.class_tars(tmp_path / "source")
    (source / "README.md").write_text("beside the classes")
    content = {"notes.txt": b"text", ".DS_Store": b"", **imagenets.files(0), "list.csv": b"1,2"}
    (source / f"{NAMES[0]}.tar").write_bytes(imagenets.tar(content))
    assert prepare(source) == 0
    line = "ignored, because they are no images: 4 (.csv 1, .txt 1, beside the classes 1, hidden 1)"
    assert line in capsys.readouterr().out.splitlines()
    np.testing.assert_array_equal(images_of(source), PIXELS)


@pytest.mark.parametrize("content", [b"", b"text", imagenets.files(0)[f"{NAMES[0]}_0.JPEG"][:2000]])
def test_a_broken_image_is_named_or_left_out(tmp_path: Path, capsys: Capture, content: bytes) -> None:
    source = imagenets.class_tars(tmp_path / "source")
    broken = f"{NAMES[1]}_1.JPEG"
    (source / f"{NAMES[1]}.tar").write_bytes(imagenets.tar({**imagenets.files(1), broken: content}))
    message = error_of(source, capsys, "--images", "4")
    assert message.startswith(f"{source / NAMES[1]}.tar: {broken} is broken (")
    assert message.endswith("leave such images out with --skip-broken")
    assert prepare(source, "--images", "4", "--skip-broken") == 0
    out = capsys.readouterr().out
    assert "going on: 1 of 3 classes are done" in out
    assert f"left out: {source / NAMES[1]}.tar: {broken} is broken (" in out
    np.testing.assert_array_equal(images_of(source)[1], PIXELS[1, [0, 2, 3, 4]])
    np.testing.assert_array_equal(images_of(source)[0], PIXELS[0, :4])
    settings = image_cache.read_index(source.parent / "cache")["settings"]
    assert [line.split(" is broken")[0] for line in settings["broken"]] == [f"{source / NAMES[1]}.tar: {broken}"]


def test_what_was_skipped_is_not_accepted_without_being_asked_for(tmp_path: Path, capsys: Capture) -> None:
    source = imagenets.class_tars(tmp_path / "source")
    broken = imagenets.tar({**imagenets.files(1), f"{NAMES[1]}_1.JPEG": b"broken"})
    (source / f"{NAMES[1]}.tar").write_bytes(broken)
    assert prepare(source, "--images", "4", "--skip-broken") == 0
    capsys.readouterr()
    assert prepare(source, "--images", "4") == 2
    message = capsys.readouterr().err
    assert "leaves out 1 broken images (" in message
    assert message.endswith("accept that with --skip-broken\n")


def test_pixels_of_more_than_8_bits_in_colour(tmp_path: Path, capsys: Capture) -> None:
    source = imagenets.class_folders(tmp_path / "source")
    header = struct.pack(">IIBBBBB", 2, 2, 16, 2, 0, 0, 0)  # 2 x 2, 16 bits, RGB
    rows = zlib.compress(bytes(2 * (1 + 2 * 6)))
    chunks = [(b"IHDR", header), (b"IDAT", rows), (b"IEND", b"")]
    deep = b"".join(struct.pack(">I", len(c)) + k + c + struct.pack(">I", zlib.crc32(k + c)) for k, c in chunks)
    (source / NAMES[0] / f"{NAMES[0]}_0.JPEG").write_bytes(b"\x89PNG\r\n\x1a\n" + deep)
    assert "its pixels have more than 8 bits" in error_of(source, capsys)


def test_too_few_images_that_can_be_read(tmp_path: Path, capsys: Capture) -> None:
    source = imagenets.class_folders(tmp_path / "source")
    (source / NAMES[0] / f"{NAMES[0]}_0.JPEG").write_bytes(b"broken")
    message = error_of(source, capsys, "--skip-broken")
    assert message.startswith(f"class {NAMES[0]} has 4 of 5 images that can be read: leave such classes out with ")
    assert prepare(source, "--skip-broken", "--images", "5", "--skip-small") == 0
    assert f"left out: class {NAMES[0]}, with 4 of 5 images that can be read" in capsys.readouterr().out
    np.testing.assert_array_equal(images_of(source), PIXELS[1:])


@pytest.mark.parametrize("kind", ["class tars", "tar of class tars"])
@pytest.mark.parametrize("part", [0.3, 0.6])
def test_a_truncated_tar(tmp_path: Path, capsys: Capture, kind: str, part: float) -> None:
    source = imagenets.SOURCES[kind](tmp_path / "source")
    path = source / f"{NAMES[1]}.tar" if source.is_dir() else source
    whole = path.read_bytes()
    path.write_bytes(whole[: int(part * len(whole))])
    message = error_of(source, capsys)
    assert message.startswith(f"{path} is truncated, damaged or no plain tar (")
    path.write_bytes(whole)
    assert prepare(source) == 0


@pytest.mark.parametrize("cut", [0, 300], ids=["at the end of an image", "in a header"])
def test_a_tar_that_ends_without_an_end(tmp_path: Path, capsys: Capture, cut: int) -> None:
    source = imagenets.class_tars(tmp_path / "source")
    path = source / f"{NAMES[1]}.tar"
    with tarfile.open(path) as archive:
        last = archive.getmembers()[-1]
    path.write_bytes(path.read_bytes()[: last.offset + cut])
    assert "(it has no end after 4 members)" in error_of(source, capsys)


def test_a_class_within_the_training_tar_that_has_no_end(tmp_path: Path, capsys: Capture) -> None:
    tars = [imagenets.tar(imagenets.files(label)) for label in range(3)]
    with tarfile.open(fileobj=io.BytesIO(tars[1])) as archive:
        cut = tars[1][: archive.getmembers()[-1].offset]
    source = tmp_path / "ILSVRC2012_img_train.tar"
    source.write_bytes(
        imagenets.tar(dict(zip([f"{name}.tar" for name in NAMES], [tars[0], cut, tars[2]], strict=True)))
    )
    assert error_of(source, capsys).startswith(f"{source}: {NAMES[1]}.tar is truncated, damaged or no plain tar (")


def test_odd_members_of_a_tar_are_ignored_and_nothing_is_unpacked(tmp_path: Path, capsys: Capture) -> None:
    source = imagenets.class_tars(tmp_path / "source")
    image = imagenets.files(1)[f"{NAMES[1]}_0.JPEG"]
    buffer = io.BytesIO(image)
    with tarfile.open(source / f"{NAMES[0]}.tar", "a") as archive:
        for name in ("../evil.JPEG", "/tmp/evil.JPEG", "a/../../evil.JPEG"):
            member = tarfile.TarInfo(name)
            member.size = len(image)
            buffer.seek(0)
            archive.addfile(member, buffer)
        for name, kind in (("a.JPEG", tarfile.SYMTYPE), ("b.JPEG", tarfile.LNKTYPE), ("c.JPEG", tarfile.FIFOTYPE)):
            member = tarfile.TarInfo(name)
            member.type, member.linkname = kind, "/etc/passwd"
            archive.addfile(member)
    before = sorted(tmp_path.rglob("*"))
    assert prepare(source) == 0
    line = "ignored, because they are no images: 6 (link 2, name outside of the archive 3, no plain file 1)"
    assert line in capsys.readouterr().out.splitlines()
    np.testing.assert_array_equal(images_of(source), PIXELS)
    assert {path.parent for path in set(tmp_path.rglob("*")) - set(before)} == {tmp_path, tmp_path / "cache"}


def test_links_and_pipes_in_folders(tmp_path: Path, capsys: Capture) -> None:
    source = imagenets.class_folders(tmp_path / "source")
    elsewhere = (source / NAMES[1]).rename(tmp_path / "elsewhere")
    (source / NAMES[1]).symlink_to(elsewhere)
    (elsewhere / "back").symlink_to(source / NAMES[1])
    first = source / NAMES[0] / f"{NAMES[0]}_0.JPEG"
    first.rename(tmp_path / "image")
    first.symlink_to(tmp_path / "image")
    os.mkfifo(source / NAMES[0] / "pipe.JPEG")
    assert prepare(source) == 0
    assert "ignored, because they are no images: 1 (no plain file 1)" in capsys.readouterr().out.splitlines()
    np.testing.assert_array_equal(images_of(source), PIXELS)


def test_a_link_that_leads_nowhere_is_a_broken_image(tmp_path: Path, capsys: Capture) -> None:
    source = imagenets.class_folders(tmp_path / "source")
    (source / NAMES[0] / "a.JPEG").symlink_to(tmp_path / "gone")
    assert f"{source / NAMES[0]}: a.JPEG is broken (No such file or directory)" in error_of(source, capsys)


class Attack:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, ("attacked",)


def test_a_pickle_that_would_run_code(tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    source = imagenets.batches(tmp_path / "source", "4")
    (source / "train_data_batch_2").write_bytes(pickle.dumps({"data": Attack()}))
    assert "it asks for posix.mkdir" in error_of(source, capsys)
    np.savez(source / "train_data_batch_2.npz", data=np.array([Attack()], dtype=object), labels=[1])
    (source / "train_data_batch_2").unlink()
    assert "is no whole batch of downsampled ImageNet (" in error_of(source, capsys)
    assert not (tmp_path / "attacked").exists()


def test_an_array_of_objects(tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    source = imagenets.class_arrays(tmp_path / "source", channels_last=False)
    np.save(source / f"{NAMES[0]}.npy", np.array([Attack()], dtype=object))
    assert f"{source / NAMES[0]}.npy is not a whole .npy file of numbers" in error_of(source, capsys)
    assert not (tmp_path / "attacked").exists()


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.zeros((5, 3, 64, 64), np.uint8), "holds uint8 [5, 3, 64, 64], and not"),
        (np.zeros((5, 3, 32, 32), np.float32), "holds float32 [5, 3, 32, 32], and not"),
    ],
)
def test_arrays_of_another_form(tmp_path: Path, capsys: Capture, array: np.ndarray, message: str) -> None:
    source = imagenets.class_arrays(tmp_path / "source", channels_last=False)
    np.save(source / f"{NAMES[0]}.npy", array)
    assert message in error_of(source, capsys)


@pytest.mark.parametrize(
    ("batch", "message"),
    [
        ({"labels": [1]}, "there are no 'data' in it"),
        ({"data": np.zeros((1, 12288), np.uint8), "labels": [1]}, "images of 32x32 are needed"),
        ({"data": np.zeros((2, 3072), np.uint8), "labels": [1]}, "not a number from 0 for each image"),
        ([1], "it holds no dict, but list"),
    ],
)
def test_batches_of_another_form(tmp_path: Path, capsys: Capture, batch: object, message: str) -> None:
    source = imagenets.batches(tmp_path / "source", "4")
    (source / "train_data_batch_1").write_bytes(pickle.dumps(batch))
    assert message in error_of(source, capsys)


@pytest.mark.parametrize("kind", ["4", "npz"])
def test_a_truncated_batch(tmp_path: Path, capsys: Capture, kind: str) -> None:
    source = imagenets.batches(tmp_path / "source", kind)
    path = next(source.glob("*_2*"))
    path.write_bytes(path.read_bytes()[:10_000])
    assert f"{path} is no whole batch of downsampled ImageNet (" in error_of(source, capsys)


def test_a_missing_batch(tmp_path: Path, capsys: Capture) -> None:
    source = imagenets.batches(tmp_path / "source", "4")
    (source / "train_data_batch_1").unlink()
    assert "holds the batches 2: there has to be one of each number from 1" in error_of(source, capsys)


def test_folders_that_are_no_source(tmp_path: Path, capsys: Capture) -> None:
    source = tmp_path / "source"
    assert "does not exist" in error_of(source, capsys)
    source.mkdir()
    assert "holds no images in a form that is known" in error_of(source, capsys)
    (source / "train").mkdir()
    (source / "val").mkdir()
    assert f"holds train and val instead of classes: give {source / 'train'}" in error_of(source, capsys)
    (source / "n1.tar").write_bytes(b"")
    assert "holds class folders and class tars" in error_of(source, capsys)
    assert "give the folder of the class tars" in error_of(
        imagenets.class_tars(tmp_path / "tars") / f"{NAMES[0]}.tar", capsys
    )


@pytest.mark.parametrize(
    ("mode", "kind", "color"), [("L", "JPEG", 100), ("CMYK", "JPEG", (0, 0, 0, 155)), ("P", "PNG", 100)]
)
def test_other_color_modes_become_rgb(mode: str, kind: str, color: int | tuple[int, ...]) -> None:
    image, file = Image.new(mode, (50, 40), color), io.BytesIO()
    if mode == "P":
        image.putpalette([value for value in range(256) for _ in range(3)])
    image.save(file, kind)
    pixels = decode(file.getvalue())
    assert pixels.shape == (3, 32, 32)
    assert pixels.dtype == np.uint8
    np.testing.assert_allclose(pixels, 100, atol=2)  # JPEG rounds


def test_transparency_is_dropped() -> None:
    file = io.BytesIO()
    Image.new("RGBA", (40, 40), (10, 20, 30, 0)).save(file, "PNG")
    np.testing.assert_array_equal(decode(file.getvalue())[:, 0, 0], [10, 20, 30])


def test_sixteen_bits_are_refused_and_not_clipped() -> None:
    file = io.BytesIO()
    Image.fromarray(np.full((40, 40), 1000, np.uint16)).save(file, "PNG")
    with pytest.raises(BrokenImage, match="more than 8 bits"):
        decode(file.getvalue())


def test_the_filter_is_the_mean_over_a_box() -> None:
    pixels = np.random.default_rng(2).integers(0, 256, (3, 64, 96), dtype=np.uint8)
    means = pixels.reshape(3, 32, 2, 32, 3).mean(axis=(2, 4))
    np.testing.assert_allclose(decode(imagenets.encode(pixels)), means, atol=1)  # Pillow rounds after each direction
