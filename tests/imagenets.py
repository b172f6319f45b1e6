"""Small ImageNets in every form that can be prepared, all with the same images."""

import io
import pickle
import tarfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from PIL import Image

CLASSES, IMAGES = 3, 5
PIXELS = np.random.default_rng(0).integers(0, 256, (CLASSES, IMAGES, 3, 32, 32), dtype=np.uint8)
NAMES = [f"n0000000{label}" for label in range(CLASSES)]
Files = Mapping[str, bytes]


def encode(pixels: np.ndarray, kind: str = "PNG") -> bytes:
    """`[3, height, width]` as a file."""
    file = io.BytesIO()
    Image.fromarray(pixels.transpose(1, 2, 0)).save(file, kind)
    return file.getvalue()


def files(label: int) -> dict[str, bytes]:
    """The images of a class; each pixel is four in the file, so that they have to be scaled. Not sorted by name."""
    larger = PIXELS[label].repeat(2, axis=2).repeat(2, axis=3)
    return {f"{NAMES[label]}_{i}.JPEG": encode(larger[i]) for i in reversed(range(IMAGES))}


def tar(content: Files) -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as archive:
        for name, data in content.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    return file.getvalue()


def class_tars(folder: Path) -> Path:
    folder.mkdir()
    for label, name in enumerate(NAMES):
        (folder / f"{name}.tar").write_bytes(tar(files(label)))
    return folder


def training_tar(folder: Path) -> Path:
    folder.mkdir()
    path = folder / "ILSVRC2012_img_train.tar"
    path.write_bytes(tar({f"{name}.tar": tar(files(label)) for label, name in reversed(list(enumerate(NAMES)))}))
    return path


def class_folders(folder: Path) -> Path:
    for label, name in enumerate(NAMES):
        (folder / name).mkdir(parents=True)
        for file, content in files(label).items():
            (folder / name / file).write_bytes(content)
    return folder


def mixed() -> tuple[np.ndarray, np.ndarray]:
    """All images `[N, 3072]` and their labels from 1, the classes mixed and the images of each in order."""
    order = np.random.default_rng(1).permutation(np.repeat(np.arange(CLASSES), IMAGES))
    place = [np.sum(order[:i] == label) for i, label in enumerate(order)]
    return PIXELS[order, place].reshape(-1, 3072), order + 1


def batches(folder: Path, kind: str) -> Path:
    """Two batches: "npz", or the number of a pickle protocol."""
    folder.mkdir()
    data, labels = mixed()
    for number, part in enumerate((slice(0, 6), slice(6, None)), start=1):
        path = folder / f"train_data_batch_{number}"
        if kind == "npz":
            np.savez(path, data=data[part], labels=labels[part])
        else:
            batch = {"data": data[part], "labels": labels[part].tolist(), "mean": data.mean(axis=0)}
            path.write_bytes(pickle.dumps(batch, protocol=int(kind)))
    return folder


def class_arrays(folder: Path, channels_last: bool) -> Path:
    folder.mkdir()
    for label, name in enumerate(NAMES):
        np.save(folder / f"{name}.npy", PIXELS[label].transpose(0, 2, 3, 1) if channels_last else PIXELS[label])
    return folder


def add(folder: Path, content: Files) -> Path:
    """Files in a folder, by their paths in it."""
    for name, data in content.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)
    return folder


SOURCES = {
    "class tars": class_tars,
    "tar of class tars": training_tar,
    "class folders": class_folders,
    "batches, pickle 2": lambda folder: batches(folder, "2"),
    "batches, pickle 4": lambda folder: batches(folder, "4"),
    "batches, pickle 5": lambda folder: batches(folder, "5"),
    "batches, npz": lambda folder: batches(folder, "npz"),
    "arrays": lambda folder: class_arrays(folder, channels_last=False),
    "arrays, channels last": lambda folder: class_arrays(folder, channels_last=True),
}
