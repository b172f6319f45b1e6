"""Which of the forms of ImageNet a path holds."""

from collections import Counter
from collections.abc import Callable
from pathlib import Path, PurePosixPath

from cbp_experiments.errors import ConfigError
from cbp_experiments.preparing import batches
from cbp_experiments.preparing.classes import (
    ArrayClass,
    FolderClass,
    ImageClass,
    TarClass,
    odd_member,
    read_members,
)
from cbp_experiments.preparing.pictures import no_image
from cbp_experiments.preparing.sources import ClassSource, Source

TRAINING_TAR = "ILSVRC2012_img_train.tar"
SPLITS = {"train", "training", "val", "valid", "validation", "test"}
FORMS = (
    f"class tars, {TRAINING_TAR}, a folder tree class/images, the batches of downsampled ImageNet "
    "(train_data_batch_1, ...), or an .npy file per class"
)


def recognize(path: Path) -> Source:
    """The source at `path`. Raises ConfigError when there is none, or when it could be several."""
    if path.is_file():
        return _training_tar(path)
    if not path.is_dir():
        raise ConfigError(f"{path} does not exist: give the folder or file with the images ({FORMS})")
    if (path / TRAINING_TAR).is_file():
        return _training_tar(path / TRAINING_TAR)
    entries = sorted(entry for entry in path.iterdir() if not entry.name.startswith("."))
    found: dict[str, list[Path]] = {
        "class tars": [entry for entry in entries if entry.suffix == ".tar"],
        "downsampled ImageNet": [entry for entry in entries if batches.number(entry)],
        "class arrays": [entry for entry in entries if entry.suffix == ".npy"],
        "class folders": [entry for entry in entries if entry.is_dir()],
    }
    kinds = [kind for kind, paths in found.items() if paths]
    if not kinds:
        raise ConfigError(f"{path} holds no images in a form that is known: {FORMS}")
    if len(kinds) > 1:
        raise ConfigError(f"{path} holds {' and '.join(kinds)}: put what is meant into a folder of its own")
    kind, paths = kinds[0], found[kinds[0]]
    if kind == "downsampled ImageNet":
        return batches.BatchSource(kind, paths)
    if kind == "class folders" and (splits := [each.name for each in paths if each.name.lower() in SPLITS]):
        raise ConfigError(f"{path} holds {' and '.join(splits)}, which are no classes: give {path / splits[0]}")
    kind_of_class: dict[str, Callable[[Path], ImageClass]] = {
        "class tars": lambda tar: TarClass(tar.stem, tar),
        "class arrays": ArrayClass,
        "class folders": FolderClass,
    }
    ignored = Counter("beside the classes" for entry in entries if entry not in paths)
    return ClassSource(kind, [kind_of_class[kind](each) for each in paths], ignored)


def _training_tar(path: Path) -> ClassSource:
    """The tar of class tars, read in place: each class is a stretch of the file."""
    ignored: Counter[str] = Counter()
    classes: dict[str, ImageClass] = {}
    with open(path, "rb") as file:
        for member in read_members(file, 0, None, str(path)):
            name = PurePosixPath(member.name)
            if member.isdir():
                continue
            if kind := odd_member(member) or no_image(member.name):
                ignored[kind] += 1
            elif name.suffix != ".tar":
                raise ConfigError(
                    f"{path} is no tar of class tars ({member.name} is in it): give the folder of the class tars"
                )
            elif name.stem in classes:
                raise ConfigError(f"{path} holds two tars of the class {name.stem}: give one with different names")
            else:
                classes[name.stem] = TarClass(name.stem, path, member.offset_data, member.offset_data + member.size)
    return ClassSource("tar of class tars", [classes[name] for name in sorted(classes)], ignored)
