"""Sources as people have them: incomplete, packed, at another level, with what systems put beside the images."""

import bz2
import gzip
import lzma
import subprocess
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from cbp_experiments.preparing.command import main
from cbp_experiments.preparing.levels import splits
from cbp_experiments.streams import image_cache
from tests import imagenets
from tests.imagenets import NAMES, PIXELS

Capture = pytest.CaptureFixture[str]
IMAGE = imagenets.files(0)[f"{NAMES[0]}_0.JPEG"]


def prepare(source: Path) -> int:
    return main([str(source), "--output", str(source.parent / "cache"), "--workers", "1"])


def error_of(source: Path, capture: Capture) -> str:
    capture.readouterr()
    assert prepare(source) == 2
    out, err = capture.readouterr()
    assert out == ""
    assert err.startswith("error: ")
    assert err.count("\n") == 1
    assert not (source.parent / "cache").exists()
    return err.removeprefix("error: ").strip()


def check_images(source: Path) -> None:
    np.testing.assert_array_equal(image_cache.load(source.parent / "cache").images, PIXELS)


def ends(path: Path) -> list[int]:
    """Where each member of a tar ends, and the next one begins."""
    with tarfile.open(path) as archive:
        starts = [member.offset for member in archive]
        return [*starts[1:], archive.offset]


# Tars: what follows the last member


@pytest.mark.parametrize("kind", ["class tars", "tar of class tars"])
@pytest.mark.parametrize("missing", [1, 2])
def test_a_download_that_reserved_its_space_first(tmp_path: Path, capsys: Capture, kind: str, missing: int) -> None:
    source = imagenets.SOURCES[kind](tmp_path / "source")
    path = source / f"{NAMES[1]}.tar" if source.is_dir() else source
    whole, come = path.read_bytes(), ends(path)[-1 - missing]
    path.write_bytes(whole[:come] + bytes(len(whole) - come))
    message = error_of(source, capsys)
    assert message.startswith(f"{path} is truncated, damaged or no plain tar (after ")
    assert f"{len(whole) - come:,} bytes follow, and a tar ends with at most 10,752 zeros" in message


def test_a_class_within_the_training_tar_that_was_not_complete_when_it_was_added(
    tmp_path: Path, capsys: Capture
) -> None:
    tars = imagenets.class_tars(tmp_path / "tars")
    path = tars / f"{NAMES[1]}.tar"
    whole, come = path.read_bytes(), ends(path)[1]
    path.write_bytes(whole[:come] + bytes(len(whole) - come))
    source = tmp_path / "source.tar"
    source.write_bytes(imagenets.tar({file.name: file.read_bytes() for file in sorted(tars.iterdir())}))
    assert error_of(source, capsys).startswith(
        f"{source}: {NAMES[1]}.tar is truncated, damaged or no plain tar (after 2"
    )


def test_a_tar_with_a_hole_is_not_taken_for_its_beginning(tmp_path: Path, capsys: Capture) -> None:
    source = imagenets.training_tar(tmp_path / "source")
    whole, first, second, *_ = source.read_bytes(), *ends(source)
    source.write_bytes(whole[:first] + bytes(second - first) + whole[second:])
    assert "(after 1 members" in error_of(source, capsys)
    source.write_bytes(whole + whole)
    assert "or several tars in one file" in error_of(source, capsys)


@pytest.mark.parametrize("zeros", [512, 1024, 10_752])
def test_a_tar_may_end_with_one_record_of_zeros(tmp_path: Path, zeros: int) -> None:
    source = imagenets.class_tars(tmp_path / "source")
    for path in source.iterdir():
        path.write_bytes(path.read_bytes()[: ends(path)[-1]] + bytes(zeros))
    assert prepare(source) == 0
    check_images(source)


# Folders and files that systems make

BY_SYSTEMS = {
    "@eaDir/x/SYNO.jpg": IMAGE,
    "__MACOSX/._n1.JPEG": IMAGE,
    "lost+found/#123.JPEG": IMAGE,
    "$RECYCLE.BIN/$R1.JPEG": IMAGE,
    ".Trash-1000/files/a.JPEG": IMAGE,
    ".Trashes/501/a.JPEG": IMAGE,
}
BY_SYSTEMS_TOO = {"._a.JPEG": IMAGE, "Thumbs.db": b"", "desktop.ini": b""}


def test_system_folders_and_files_are_ignored_at_every_level_of_folders(tmp_path: Path, capsys: Capture) -> None:
    source = imagenets.class_folders(tmp_path / "source")
    for folder in (source, source / NAMES[0], imagenets.add(source / NAMES[1] / "within", {"list.txt": b""})):
        imagenets.add(folder, {**BY_SYSTEMS, **BY_SYSTEMS_TOO})
    assert prepare(source) == 0
    kinds = ".db 2, .ini 2, .txt 1, beside the classes 2, hidden 3, system folder 18"
    assert f"ignored, because they are no images: 28 ({kinds})" in capsys.readouterr().out.splitlines()
    check_images(source)


def test_system_folders_and_files_are_ignored_in_tars(tmp_path: Path, capsys: Capture) -> None:
    source = tmp_path / "source.tar"
    junk = {**BY_SYSTEMS, **BY_SYSTEMS_TOO, "@eaDir/x/more.jpg": IMAGE, "./lost+found/n1.tar": b""}
    tars = {f"{NAMES[label]}.tar": imagenets.tar({**junk, **imagenets.files(label)}) for label in range(3)}
    source.write_bytes(imagenets.tar({**junk, **tars, f"__MACOSX/._{NAMES[0]}.tar": IMAGE}))
    assert prepare(source) == 0
    line = "ignored, because they are no images: 36 (.db 4, .ini 4, hidden 4, system folder 24)"
    assert line in capsys.readouterr().out.splitlines()
    check_images(source)


@pytest.mark.parametrize("kind", ["class tars", "arrays", "batches, pickle 4"])
def test_system_folders_beside_files_are_no_classes(tmp_path: Path, kind: str) -> None:
    source = imagenets.SOURCES[kind](tmp_path / "source")
    imagenets.add(source, {**BY_SYSTEMS, **BY_SYSTEMS_TOO, "@eaDir/n1.tar": b"", "._n1.tar": b""})
    assert prepare(source) == 0
    check_images(source)


# Another level


def tiny_imagenet(top: Path) -> Path:
    for label, name in enumerate(NAMES):
        imagenets.add(top / "train" / name / "images", imagenets.files(label))
        imagenets.add(top / "train" / name, {f"{name}_boxes.txt": b""})
    imagenets.add(top / "val", {"images/val_0.JPEG": IMAGE, "val_annotations.txt": b""})
    imagenets.add(top, {"test/images/test_0.JPEG": IMAGE, "wnids.txt": b"", "words.txt": b""})
    return top / "train"


def kaggle(top: Path) -> Path:
    """As the whole download is laid out, with annotations in folders of the same names."""
    data = top / "ILSVRC" / "Data" / "CLS-LOC"
    imagenets.class_folders(data / "train")
    imagenets.add(data, {"val/ILSVRC2012_val_1.JPEG": IMAGE, "test/ILSVRC2012_test_1.JPEG": IMAGE})
    for name in NAMES:
        imagenets.add(top, {f"ILSVRC/Annotations/CLS-LOC/train/{name}/{name}_0.xml": b"<annotation/>"})
    imagenets.add(top, {"ILSVRC/ImageSets/CLS-LOC/train_cls.txt": b"", "LOC_synset_mapping.txt": b""})
    return data / "train"


def nested_batches(top: Path) -> Path:
    top.mkdir()
    return imagenets.batches(top / "Imagenet32_train", "4")


def nested_tars(top: Path) -> Path:
    (top / "ILSVRC2012" / "ILSVRC2012_img_val").mkdir(parents=True)
    return imagenets.class_tars(top / "ILSVRC2012" / "ILSVRC2012_img_train")


def two_data_sets(top: Path) -> Path:
    imagenets.class_folders(top / "DET" / "val")
    return imagenets.class_folders(top / "CLS-LOC" / "train")


def beside_an_export(top: Path) -> Path:
    imagenets.add(top, {"data/train-00000-of-00001.parquet": b"PAR1"})
    return imagenets.class_folders(top / "classes")


@pytest.mark.parametrize("make", [tiny_imagenet, kaggle, nested_batches, nested_tars, two_data_sets, beside_an_export])
def test_a_folder_above_the_data_is_refused_and_the_right_one_named(
    tmp_path: Path, capsys: Capture, make: Callable[[Path], Path]
) -> None:
    data = make(tmp_path / "source")
    above = data.parent
    while above != tmp_path:
        message = error_of(above, capsys)
        assert message.endswith(f": give {data}")
        assert message.startswith(f"{above} holds ")
        above = above.parent
    assert prepare(data) == 0
    check_images(data)


def test_without_a_folder_to_train_on_none_is_named(tmp_path: Path, capsys: Capture) -> None:
    imagenets.class_folders(tmp_path / "source" / "val")
    message = error_of(tmp_path / "source", capsys)
    assert message.endswith("holds val instead of classes: give a folder of the classes to train on alone")


def test_tars_of_splits_are_no_classes(tmp_path: Path, capsys: Capture) -> None:
    tar = imagenets.tar(imagenets.files(0))
    names = ["train_images_0", "train_images_1", "val_images", "test_images"]
    source = imagenets.add(tmp_path / "source", {f"{name}.tar": tar for name in names})
    assert "train_images_0, train_images_1, test_images, ... instead of classes" in error_of(source, capsys)


@pytest.mark.parametrize(
    ("names", "parts"),
    [
        (["test", "train", "val"], ["train", "test", "val"]),
        (["Train", "other"], ["Train"]),
        (["ILSVRC2012_img_train", "ILSVRC2012_img_val"], ["ILSVRC2012_img_train", "ILSVRC2012_img_val"]),
        (["Imagenet32_train", "devkit"], []),
        (["bullet_train", "test_tube", "cat", "dog", "rat"], []),
        (["bullet_train", "cat"], []),
        (NAMES, []),
    ],
)
def test_splits_are_told_from_classes_by_their_names(names: list[str], parts: list[str]) -> None:
    assert splits(names) == parts


def test_a_folder_of_one_class_names_the_level(tmp_path: Path, capsys: Capture) -> None:
    source = imagenets.class_folders(tmp_path / "source") / NAMES[0]
    assert error_of(source, capsys).endswith(
        "holds images and no classes: a class is a folder of images, so give the one above"
    )


def test_one_batch_names_its_folder(tmp_path: Path, capsys: Capture) -> None:
    source = imagenets.batches(tmp_path / "source", "4")
    assert main([str(source / "train_data_batch_1"), "--output", str(tmp_path / "cache")]) == 2
    assert capsys.readouterr().err.endswith(f"is one file of several: give the folder, {source}\n")


# Packed, unfinished, or something else

PACKED: dict[str, Callable[[bytes], bytes]] = {
    "gzip": gzip.compress,
    "bzip2": bz2.compress,
    "xz": lzma.compress,
    "zstd": lambda content: b"\x28\xb5\x2f\xfd" + content,
}


@pytest.mark.parametrize(
    ("program", "ending"),
    [("gzip", ".tar.gz"), ("gzip", ".tgz"), ("bzip2", ".tar.bz2"), ("xz", ".tar.xz"), ("zstd", ".tar.zst")],
)
@pytest.mark.parametrize("named_tar", [False, True])
def test_compressed_class_tars(tmp_path: Path, capsys: Capture, program: str, ending: str, named_tar: bool) -> None:
    source = imagenets.class_tars(tmp_path / "a source")
    for tar in list(source.iterdir()):
        tar.with_suffix(".tar" if named_tar else ending).write_bytes(PACKED[program](tar.read_bytes()))
        if not named_tar:
            tar.unlink()
    message = error_of(source, capsys)
    assert message.startswith(
        f"{source / NAMES[0]}{'.tar' if named_tar else ending} is compressed with {program} (and 2 more"
    )
    command, given = message.partition("decompress each (")[2].split(") and give ")
    assert f"{program} -dc" in command
    if program != "zstd":
        subprocess.run(command, shell=True, check=True)
        assert prepare(Path(given)) == 0
        check_images(Path(given))


def test_a_compressed_training_tar(tmp_path: Path, capsys: Capture) -> None:
    source = imagenets.training_tar(tmp_path / "source")
    source.write_bytes(gzip.compress(source.read_bytes()))
    for given in (source, source.parent):
        message = error_of(given, capsys)
        assert message.startswith(f"{source} is compressed with gzip: decompress it (")
    command, unpacked = message.partition("decompress it (")[2].split(") and give ")
    subprocess.run(command, shell=True, check=True)
    assert prepare(Path(unpacked)) == 0
    check_images(Path(unpacked))


@pytest.mark.parametrize("name", ["Imagenet32_train.zip", "download.tar", "Imagenet32_train"])
def test_a_zip(tmp_path: Path, capsys: Capture, name: str) -> None:
    path = tmp_path / "source" / name
    path.parent.mkdir()
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("train_data_batch_1", b"")
    message = error_of(path, capsys)
    assert message.startswith(f"{path} is a zip archive: unpack it (unzip {path} -d {path.parent}")
    if path.suffix == ".zip":
        folder = path.with_suffix("")
        assert message.endswith(f" and give {folder}")
        assert error_of(path.parent, capsys) == message
        assert error_of(tmp_path, capsys).endswith(message)


def test_of_several_archives_the_one_to_train_on_is_named(tmp_path: Path, capsys: Capture) -> None:
    names = ["Imagenet32_test.zip", "Imagenet32_train.zip", "Imagenet32_val.zip"]
    source = imagenets.add(tmp_path / "source", dict.fromkeys(names, b"PK\x03\x04"))
    assert error_of(source, capsys).startswith(f"{source / 'Imagenet32_train.zip'} is a zip archive (and 2 more")


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("data.7z", b"7z\xbc\xaf\x27\x1c", "is a 7z archive: unpack it (7z x "),
        ("data.rar", b"Rar!\x1a\x07\x01\x00", "is a rar archive: unpack it (unrar x "),
        ("train-00000-of-00294.parquet", b"PAR1" + bytes(50), "is Hugging Face's export in parquet: save its images"),
        ("data-00000-of-00010.arrow", b"\xff\xff\xff\xff", "is Hugging Face's export in arrow: save its images"),
        ("train.h5", b"\x89HDF\r\n\x1a\n", "is an export in h5: save its images"),
        ("train.tfrecord", b"\0" * 50, "is an export in tfrecord: save its images"),
        ("data.zip", b"", "is empty: download it again"),
        ("data.zip", b"no zip at all", "is damaged or no .zip file: download it again"),
        ("data.tar.gz", b"no gzip at all", "is damaged or no .gz file: download it again"),
        ("data.zip", b"<!DOCTYPE html><html>Log in", "is a web page and not the data"),
        ("data.zip", b"\n<?xml version='1.0'?><Error>", "is a web page and not the data"),
        ("data.tar.part", imagenets.tar({"a.JPEG": b""}), "is an unfinished download"),
        ("data.zip.crdownload", b"PK\x03\x04", "is an unfinished download"),
        ("data.tar.aria2", b"\0\1", "is an unfinished download"),
    ],
)
def test_files_that_are_not_read(tmp_path: Path, capsys: Capture, name: str, content: bytes, message: str) -> None:
    path = imagenets.add(tmp_path / "above" / "source", {name: content}) / name
    assert error_of(path, capsys).startswith(f"{path} {message}")
    assert error_of(path.parent, capsys).startswith(f"{path} {message}")
    assert error_of(tmp_path / "above", capsys).startswith(f"{tmp_path / 'above'} holds no classes: {path} {message}")


@pytest.mark.parametrize(
    ("content", "message"),
    [(b"", "is empty"), (b"<html>", "is a web page"), (b"PK\x03\x04", "is a zip archive")],
)
@pytest.mark.parametrize("kind", ["class tars", "batches, pickle 4", "arrays"])
def test_one_file_of_a_class_or_batch_that_is_something_else(
    tmp_path: Path, capsys: Capture, kind: str, content: bytes, message: str
) -> None:
    source = imagenets.SOURCES[kind](tmp_path / "source")
    path = sorted(source.iterdir())[1]
    path.write_bytes(content)
    assert error_of(source, capsys).startswith(f"{path} {message}")


@pytest.mark.parametrize("ending", [".tar.part", ".tar.crdownload", ".tar.gz", ".tgz"])
def test_a_class_that_is_unfinished_or_packed_is_not_left_out(tmp_path: Path, capsys: Capture, ending: str) -> None:
    source = imagenets.class_tars(tmp_path / "source")
    path = source / f"{NAMES[2]}{ending}"
    (source / f"{NAMES[2]}.tar").rename(path)
    message = error_of(source, capsys)
    assert message.startswith(f"{source} holds class tars, and {path} is ")
    assert message.endswith("; or move it away, if it is not needed")


def test_a_packed_class_may_stay_beside_what_is_unpacked(tmp_path: Path) -> None:
    source = imagenets.class_tars(tmp_path / "source")
    (source / f"{NAMES[0]}.tar.gz").write_bytes(gzip.compress((source / f"{NAMES[0]}.tar").read_bytes()))
    assert prepare(source) == 0
    check_images(source)


def test_a_tar_is_not_judged_by_the_name_of_its_first_member(tmp_path: Path) -> None:
    source = imagenets.class_tars(tmp_path / "source")
    images = [content for _, content in sorted(imagenets.files(0).items())]
    content = {f"{name}.JPEG": image for name, image in zip(["BZh", "PAR1", "Rar!", "a", "b"], images, strict=True)}
    (source / f"{NAMES[0]}.tar").write_bytes(imagenets.tar(content))
    assert prepare(source) == 0
    check_images(source)


def test_an_archive_beside_its_content_is_ignored(tmp_path: Path, capsys: Capture) -> None:
    source = imagenets.batches(tmp_path / "source", "4")
    (source / "Imagenet32_train.zip").write_bytes(b"PK\x03\x04")
    assert prepare(source) == 0
    check_images(source)
