"""The command from every kind of source to a cache: what it takes, resumes, keeps and refuses."""

import fcntl
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import IO

import numpy as np
import pytest

from cbp_experiments.atomic import replace_file
from cbp_experiments.preparing.command import main
from cbp_experiments.streams import image_cache
from tests import imagenets
from tests.imagenets import CLASSES, IMAGES, NAMES, PIXELS, SOURCES

ROOT = Path(__file__).parents[2]
Capture = pytest.CaptureFixture[str]


def prepare(source: Path, output: Path, *options: str) -> int:
    return main([str(source), "--output", str(output), "--workers", "1", *options])


def error_of(capture: Capture) -> str:
    err = capture.readouterr().err
    assert err.startswith("error: ")
    assert err.count("\n") == 1
    return err.removeprefix("error: ").strip()


@pytest.mark.parametrize("kind", SOURCES)
def test_every_kind_of_source_gives_the_same_images(tmp_path: Path, kind: str) -> None:
    assert prepare(SOURCES[kind](tmp_path / "source"), tmp_path / "cache") == 0
    cache = image_cache.load(tmp_path / "cache")
    np.testing.assert_array_equal(cache.images, PIXELS)
    assert cache.names == (tuple(NAMES) if "batches" not in kind else ("0001", "0002", "0003"))
    assert cache.description == "15 ImageNet images of 3 classes"
    assert {path.name for path in (tmp_path / "cache").iterdir()} == {
        "classes.json",
        f"images-{cache.checksum.removeprefix('sha256:')[:8]}.npy",
    }


def test_a_part_of_imagenet_can_be_called_by_its_name(tmp_path: Path) -> None:
    assert prepare(imagenets.class_tars(tmp_path / "source"), tmp_path / "cache", "--name", "Tiny ImageNet") == 0
    assert image_cache.load(tmp_path / "cache").description == "15 Tiny ImageNet images of 3 classes"


def test_files_of_others_in_the_output_are_left_alone(tmp_path: Path, capsys: Capture) -> None:
    output = tmp_path / "cache"
    (output / "unfinished").mkdir(parents=True)
    theirs = [output / "unfinished" / "thesis.tex", output / ".notes.tmp"]
    for path in theirs:
        path.write_text("mine")
    assert prepare(imagenets.class_tars(tmp_path / "source"), output) == 2
    assert "unfinished is there and none of ours" in error_of(capsys)
    assert [path.read_text() for path in theirs] == ["mine", "mine"]


def test_a_torn_note_of_an_unfinished_cache_is_made_anew(tmp_path: Path) -> None:
    (tmp_path / "cache" / "unfinished").mkdir(parents=True)
    (tmp_path / "cache" / "unfinished" / "settings.json").write_text("{")
    assert prepare(imagenets.class_tars(tmp_path / "source"), tmp_path / "cache") == 0
    np.testing.assert_array_equal(image_cache.load(tmp_path / "cache").images, PIXELS)


def test_the_first_images_by_name_are_taken(tmp_path: Path) -> None:
    assert prepare(imagenets.class_tars(tmp_path / "source"), tmp_path / "cache", "--images", "2") == 0
    np.testing.assert_array_equal(image_cache.load(tmp_path / "cache").images, PIXELS[:, :2])


def test_the_folder_of_the_training_tar_will_do(tmp_path: Path) -> None:
    source = imagenets.training_tar(tmp_path / "source").parent
    (source / "ILSVRC2012_img_val.tar").write_bytes(imagenets.tar({"a.JPEG": b""}))
    assert prepare(source, tmp_path / "cache") == 0
    np.testing.assert_array_equal(image_cache.load(tmp_path / "cache").images, PIXELS)


def test_output_is_below_the_data_root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CBP_DATA", str(tmp_path / "root"))
    assert main([str(imagenets.class_tars(tmp_path / "source")), "--workers", "1"]) == 0
    assert image_cache.load(tmp_path / "root" / "imagenet32").names == tuple(NAMES)


def test_without_a_number_the_smallest_class_decides_and_a_line_says_so(tmp_path: Path, capsys: Capture) -> None:
    source = imagenets.class_folders(tmp_path / "source")
    (source / NAMES[1] / f"{NAMES[1]}_4.JPEG").unlink()
    assert prepare(source, tmp_path / "cache") == 0
    assert f"4 images a class and not 700: class {NAMES[1]} has no more" in capsys.readouterr().out
    np.testing.assert_array_equal(image_cache.load(tmp_path / "cache").images, PIXELS[:, :4])


def test_a_class_with_too_few_images_is_refused_or_left_out(tmp_path: Path, capsys: Capture) -> None:
    source = imagenets.class_folders(tmp_path / "source")
    (source / NAMES[1] / f"{NAMES[1]}_4.JPEG").unlink()
    assert prepare(source, tmp_path / "cache", "--images", "5") == 2
    assert error_of(capsys) == (
        f"class {NAMES[1]} has 4 images of 5: take --images 4, or leave such classes out with --skip-small"
    )
    assert not (tmp_path / "cache").exists()
    assert prepare(source, tmp_path / "cache", "--images", "5", "--skip-small") == 0
    assert f"left out, with fewer than 5 images: 1 classes ({NAMES[1]})" in capsys.readouterr().out
    cache = image_cache.load(tmp_path / "cache")
    np.testing.assert_array_equal(cache.images, PIXELS[[0, 2]])
    assert cache.names == (NAMES[0], NAMES[2])


def test_fewer_than_two_classes_are_refused(tmp_path: Path, capsys: Capture) -> None:
    source = imagenets.class_tars(tmp_path / "source")
    for name in NAMES[1:]:
        (source / f"{name}.tar").unlink()
    assert prepare(source, tmp_path / "cache") == 2
    assert error_of(capsys) == "there are 1 classes: two are needed"


def test_a_finished_cache_is_kept_unless_forced(tmp_path: Path, capsys: Capture) -> None:
    source, output = imagenets.class_tars(tmp_path / "source"), tmp_path / "cache"
    assert prepare(source, output) == 0
    before = {path.name: (path.stat().st_mtime_ns, path.read_bytes()) for path in output.iterdir()}
    capsys.readouterr()
    assert prepare(source, output) == 0
    assert f"{output} holds these images already" in capsys.readouterr().out
    assert prepare(source, output, "--images", "4") == 2
    assert "holds a cache of other settings (images 5, not 4)" in error_of(capsys)
    (source / "n9.tar").write_bytes((source / f"{NAMES[0]}.tar").read_bytes())
    assert prepare(source, output) == 2
    assert "holds a cache of other settings (the source has changed)" in error_of(capsys)
    assert {path.name: (path.stat().st_mtime_ns, path.read_bytes()) for path in output.iterdir()} == before
    assert prepare(source, output, "--images", "4", "--force") == 0
    cache = image_cache.load(output)
    assert cache.images.shape == (4, 4, 3, 32, 32)
    assert len(list(output.iterdir())) == 2, "the old images are gone"


def test_an_unfinished_cache_of_other_settings_is_kept_unless_forced(tmp_path: Path, capsys: Capture) -> None:
    source, output = imagenets.class_folders(tmp_path / "source"), tmp_path / "cache"
    (source / NAMES[2] / f"{NAMES[2]}_0.JPEG").write_bytes(b"broken")
    assert prepare(source, output) == 2
    capsys.readouterr()
    assert prepare(source, output, "--images", "4", "--skip-broken") == 2
    assert "holds an unfinished cache of other settings (images 5, not 4)" in error_of(capsys)
    assert (output / "unfinished" / f"{NAMES[0]}.npy").exists()
    assert prepare(source, output, "--images", "4", "--skip-broken", "--force") == 0
    np.testing.assert_array_equal(image_cache.load(output).images[:2], PIXELS[:2, :4])


def test_two_at_once_on_one_folder(tmp_path: Path, capsys: Capture) -> None:
    source, output = imagenets.class_tars(tmp_path / "source"), tmp_path / "cache"
    output.mkdir()
    descriptor = os.open(output, os.O_RDONLY)
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    assert prepare(source, output) == 2
    os.close(descriptor)
    assert error_of(capsys) == f"another process is writing into {output}: wait for it"


def test_a_killed_preparation_goes_on_where_it_was_and_leaves_no_processes(tmp_path: Path) -> None:
    source, output = tmp_path / "source", tmp_path / "cache"
    image = imagenets.encode(np.random.default_rng(0).integers(0, 256, (3, 200, 200), dtype=np.uint8))
    names = [f"n{label:02d}" for label in range(8)]
    source.mkdir()
    for name in names:
        (source / f"{name}.tar").write_bytes(imagenets.tar({f"{i:02d}.png": image for i in range(30)}))
    command = [sys.executable, str(ROOT / "scripts" / "prepare_imagenet.py"), str(source), "--output", str(output)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    process = subprocess.Popen(
        [*command, "--workers", "2"], env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    while not list((output / "unfinished").glob("n*.npy")):
        assert process.poll() is None, process.communicate()[0]
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.communicate(timeout=30)  # the pipe ends when the last process that holds it does
    assert not (output / "classes.json").exists()
    done = sorted((output / "unfinished").glob("n*.npy"))
    assert 0 < len(done) < len(names)
    marked = np.full((30, 3, 32, 32), 7, np.uint8)
    for path in done:
        np.save(path, marked)
    (output / ".images-01234567.npy.1.tmp").write_bytes(b"left by a kill")
    again = subprocess.run([*command, "--workers", "1"], env=environment, capture_output=True, text=True, check=True)
    assert f"going on: {len(done)} of {len(names)} classes are done" in again.stdout
    images = image_cache.load(output).images
    for name, pixels in zip(names, images, strict=True):
        assert np.array_equal(pixels, marked) == (output / "unfinished" / f"{name}.npy" in done), name
    assert len(list(output.iterdir())) == 2


def test_a_crash_at_the_end_leaves_the_old_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source, output = imagenets.class_tars(tmp_path / "source"), tmp_path / "cache"
    assert prepare(source, output) == 0

    def crash(path: Path, write: Callable[[IO[bytes]], object]) -> None:
        if path.name == "classes.json":
            raise KeyboardInterrupt
        replace_file(path, write)

    with monkeypatch.context() as patch:
        patch.setattr("cbp_experiments.streams.image_cache.replace_file", crash)
        assert prepare(source, output, "--images", "4", "--force") == 130
    assert image_cache.load(output).images.shape == (CLASSES, IMAGES, 3, 32, 32)
    assert prepare(source, output, "--images", "4", "--force") == 0
    assert image_cache.load(output).images.shape == (CLASSES, 4, 3, 32, 32)
    assert len(list(output.iterdir())) == 2


def test_several_processes_give_the_same_cache(tmp_path: Path) -> None:
    source = imagenets.training_tar(tmp_path / "source")
    assert main([str(source), "--output", str(tmp_path / "cache"), "--workers", "2"]) == 0
    np.testing.assert_array_equal(image_cache.load(tmp_path / "cache").images, PIXELS)


def test_classes_json_says_what_was_done(tmp_path: Path) -> None:
    source = imagenets.class_tars(tmp_path / "source")
    assert prepare(source, tmp_path / "cache") == 0
    settings = json.loads((tmp_path / "cache" / "classes.json").read_text())["settings"]
    assert settings["source"] == str(source)
    assert (settings["kind"], settings["images"], settings["filter"]) == ("class tars", IMAGES, "box")
    assert settings["found"] == dict.fromkeys(NAMES, IMAGES)
    assert settings["broken"] == []


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--images", "0"], "argument --images: '0' is not a whole number from 1"),
        (["--workers", "two"], "argument --workers: 'two' is not a whole number from 1"),
        (["--picture", "3"], "unrecognized arguments: --picture 3"),
    ],
)
def test_wrong_options_are_one_line(tmp_path: Path, capsys: Capture, arguments: list[str], message: str) -> None:
    with pytest.raises(SystemExit) as exit_:
        main([str(tmp_path), *arguments])
    assert exit_.value.code == 2
    assert error_of(capsys).startswith(message)


def test_an_output_that_cannot_be_written(tmp_path: Path, capsys: Capture) -> None:
    (tmp_path / "file").write_text("in the way")
    assert prepare(imagenets.class_tars(tmp_path / "source"), tmp_path / "file" / "cache") == 2
    assert str(tmp_path / "file") in error_of(capsys)
