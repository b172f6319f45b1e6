"""Recognizes which form of ImageNet a path holds."""

import shlex
from collections import Counter
from collections.abc import Callable
from pathlib import Path, PurePosixPath

from cbp_experiments.errors import ConfigError
from cbp_experiments.preparing import batches, packed
from cbp_experiments.preparing.classes import ArrayClass, FolderClass, ImageClass, TarClass, plain_members
from cbp_experiments.preparing.levels import data_below, has_images, is_training, splits, visible
from cbp_experiments.preparing.sources import ClassSource, Source

TRAINING_TAR = "ILSVRC2012_img_train.tar"
FORMS = (
    f"class tars, {TRAINING_TAR}, a folder tree class/images, the batches of downsampled ImageNet "
    "(train_data_batch_1, ...), or an .npy file per class"
)
OF_CLASS: dict[str, Callable[[Path], ImageClass]] = {
    "class tars": lambda tar: TarClass(tar.stem, tar),
    "class arrays": ArrayClass,
    "class folders": FolderClass,
}


def recognize(path: Path) -> Source:
    """Return the source at `path`. Raises ConfigError if there is none, or if there could be several."""
    if path.is_file():
        return _file(path)
    if not path.is_dir():
        raise ConfigError(f"{path} does not exist: give the folder or file with the images ({FORMS})")
    if (path / TRAINING_TAR).is_file():
        return _training_tar(path / TRAINING_TAR)
    entries, ignored = visible(path)
    found: dict[str, list[Path]] = {}
    for entry in entries:
        if kind := _kind(entry.name, entry.is_dir()):
            found.setdefault(kind, []).append(entry)
    if not found:
        raise _nothing_in(path)
    if len(found) > 1:
        raise ConfigError(f"{path} holds {' and '.join(sorted(found))}: put what is meant into a folder of its own")
    ((kind, paths),) = found.items()
    others = sorted(set(entries) - set(paths))
    if kind == "class folders":
        _check_level(path, paths)
    else:
        _check_files(path, kind, paths, others)
    if kind == "downsampled ImageNet":
        return batches.BatchSource(kind, paths)
    if others:
        ignored["beside the classes"] = len(others)
    return ClassSource(kind, [OF_CLASS[kind](each) for each in paths], ignored)


def _kind(name: str, is_folder: bool = False) -> str | None:
    """Return the form that a file or folder is a part of, going by its name; None if it is none."""
    if is_folder:
        return "class folders"
    if batches.number(Path(name)):
        return "downsampled ImageNet"
    return {".tar": "class tars", ".npy": "class arrays"}.get(Path(name).suffix)


def _check_level(path: Path, folders: list[Path]) -> None:
    """Raise ConfigError if the folders are not classes but contain them; it names the folder to give."""
    parts = splits([folder.name for folder in folders])
    inside = data_below(path)
    if not parts and inside in (None, path):
        return
    holds = f"{path} holds {_listed(parts)} instead of classes" if parts else f"{path} holds no classes"
    if inside is None or inside == path:
        where = path / parts[0] if is_training(parts[0]) else "a folder of the classes to train on alone"
        raise ConfigError(f"{holds}: give {where}")
    raise ConfigError(f"{holds}: {_unpack(inside) if inside.is_file() else f'give {inside}'}")


def _check_files(path: Path, kind: str, files: list[Path], others: list[Path]) -> None:
    """Raise ConfigError for splits, for files that are not what they are called, and for classes that are packed."""
    parts = splits([file.stem for file in files])
    if parts and kind != "downsampled ImageNet":
        raise ConfigError(f"{path} holds {_listed(parts)} instead of classes: give a folder of {kind} alone")
    if wrong := [file for file in files if packed.form_of(file)]:
        raise ConfigError(_unpack(wrong[0]))
    for other in others:
        unpacked = other.with_name(packed.unpacked_name(other.name))
        if packed.is_packed(other.name) and unpacked not in files and _kind(unpacked.name) == kind:
            raise ConfigError(f"{path} holds {kind}, and {_unpack(other)}; or move it away, if it is not needed")


def _nothing_in(path: Path) -> ConfigError:
    """Return the error for a folder that holds neither folders nor files of a known form."""
    if file := data_below(path):
        return ConfigError(_unpack(file))
    if has_images(path):
        return ConfigError(f"{path} holds images and no classes: a class is a folder of images, so give the one above")
    return ConfigError(f"{path} holds no images in a form that is known: {FORMS}")


def _unpack(file: Path) -> str:
    """Say what an unsupported file is, how many of the same form are beside it, and what to do."""
    beside = [each for each in visible(file.parent)[0] if each.is_file() and each.suffix == file.suffix]
    form = packed.form_of(file)
    return f"{file} {packed.advice(file, others=sum(packed.form_of(each) == form for each in beside) - 1)}"


def _listed(names: list[str]) -> str:
    return " and ".join(names) if len(names) < 4 else f"{', '.join(names[:3])}, ..."


def _file(path: Path) -> Source:
    if packed.form_of(path):
        raise ConfigError(f"{path} {packed.advice(path)}")
    if _kind(path.name) in ("downsampled ImageNet", "class arrays"):
        raise ConfigError(f"{path} is one file of several: give the folder, {path.parent}")
    return _training_tar(path)


def _training_tar(path: Path) -> ClassSource:
    """Return the source for a tar of class tars. It is read in place: each class is a part of the file."""
    if packed.form_of(path):
        raise ConfigError(f"{path} {packed.advice(path)}")
    ignored: Counter[str] = Counter()
    classes: dict[str, ImageClass] = {}
    with open(path, "rb") as file:
        for member in plain_members(file, 0, None, str(path), ignored):
            name = PurePosixPath(member.name)
            if name.suffix != ".tar":
                folder = f"{path.absolute().with_suffix('')}_unpacked"
                raise ConfigError(
                    f"{path} is no tar of class tars ({member.name} is in it): give the folder of the class tars, or "
                    f"unpack it (mkdir -p {shlex.quote(folder)} && tar -xf {shlex.quote(str(path))} -C "
                    f"{shlex.quote(folder)}) and give {folder}"
                )
            if name.stem in classes:
                raise ConfigError(f"{path} holds two tars of the class {name.stem}: give one with different names")
            classes[name.stem] = TarClass(name.stem, path, member.offset_data, member.offset_data + member.size)
    return ClassSource("tar of class tars", [classes[name] for name in sorted(classes)], ignored)
