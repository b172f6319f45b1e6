"""Recognizes files in a form that is not supported, or without images, and says what to do with them."""

import re
import shlex
from pathlib import Path

UNFINISHED = (".part", ".partial", ".crdownload", ".download", ".opdownload", ".filepart", ".aria2", ".!qb", ".!ut")
COMPRESSED = {
    ".gz": "gzip",
    ".tgz": "gzip",
    ".bz2": "bzip2",
    ".tbz2": "bzip2",
    ".xz": "xz",
    ".txz": "xz",
    ".zst": "zstd",
}
EXPORTS = (".parquet", ".arrow", ".tfrecord", ".h5", ".hdf5", ".lmdb", ".mdb")
ARCHIVES = (".zip", ".7z", ".rar")
MAGIC = {
    b"PK\x03\x04": ".zip",
    b"PK\x05\x06": ".zip",
    b"\x1f\x8b": ".gz",
    b"BZh": ".bz2",
    b"\xfd7zXZ\0": ".xz",
    b"\x28\xb5\x2f\xfd": ".zst",
    b"7z\xbc\xaf\x27\x1c": ".7z",
    b"Rar!\x1a\x07": ".rar",
    b"PAR1": ".parquet",
    b"ARROW1": ".arrow",
    b"\x89HDF": ".h5",
}
HEAD = 512  # bytes that tell what a file is


def is_packed(name: str) -> bool:
    """Whether this is the name of an archive, an export or an unfinished download, none of which is read."""
    return Path(name).suffix.lower() in {*UNFINISHED, *COMPRESSED, *EXPORTS, *ARCHIVES}


def unpacked_name(name: str) -> str:
    """Remove what compression or a download appended to a name: n1.tar for n1.tar.gz, n1.tgz and n1.tar.part."""
    if match := re.fullmatch(r"(.+)\.(tgz|tbz2|txz)", name, re.IGNORECASE):
        return f"{match[1]}.tar"
    path = Path(name)
    return path.stem if path.suffix.lower() in {*UNFINISHED, *COMPRESSED} else name


def form(head: bytes) -> str | None:
    """Return the extension that a file beginning with `head` should have; "empty"; None for tars and anything else."""
    if not head:
        return "empty"
    if head[257:262] == b"ustar":
        return None  # a tar begins with the name of its first member, whatever that is
    if re.match(rb"(\xef\xbb\xbf)?\s*<(!doctype|html|\?xml|head|!--)", head, re.IGNORECASE):
        return ".html"
    return next((kind for magic, kind in MAGIC.items() if head.startswith(magic)), None)


def form_of(path: Path) -> str | None:
    """Return the unsupported form of a file, from its content, or its name if that says more; None for other files.

    A .npz is a zip, but it is read.
    """
    suffix = path.suffix.lower()
    if suffix in UNFINISHED:
        return "unfinished"
    with open(path, "rb") as file:
        found = form(file.read(HEAD))
    if found == ".zip" and suffix == ".npz":
        return None
    return found or (suffix if suffix in EXPORTS else "damaged" if is_packed(path.name) else None)


def advice(path: Path, others: int = 0) -> str:
    """Say, to continue a sentence after the path, what a file with a form (and `others` like it) is, and what to do."""
    kind = form_of(path)
    simple = {
        "unfinished": "is an unfinished download: finish it, or download it again",
        "empty": "is empty: download it again",
        "damaged": f"is damaged or no {path.suffix} file: download it again",
        ".html": "is a web page and not the data, perhaps one that asks to log in: download it again",
    }
    if kind in simple:
        return simple[kind]
    assert kind is not None
    what, todo = _export(kind) if kind in EXPORTS else _archive(path, kind, others > 0)
    return f"is {what}{f' (and {others} more beside it)' if others > 0 else ''}: {todo}"


def _export(kind: str) -> tuple[str, str]:
    name = "Hugging Face's export" if kind in (".parquet", ".arrow") else "an export"
    todo = "save its images, as docs/data.md shows, and give the folder of the class folders"
    return f"{name} in {kind.removeprefix('.')}", todo


def _archive(path: Path, kind: str, several: bool) -> tuple[str, str]:
    """Return what the file is, and how to unpack it with a command."""
    file = shlex.quote(str(path))
    if kind in COMPRESSED:
        folder = Path(f"{path.absolute().parent}_unpacked")
        target, program = folder / unpacked_name(path.name), COMPRESSED[kind]
        ending = path.name.removeprefix(target.stem)
        command = f"{program} -dc {file} > {_quoted(target)}"
        if several:
            name = f'"$(basename "$file" {ending})"{target.suffix}'
            command = f'for file in {_quoted(path.parent)}/*{ending}; do {program} -dc "$file" > '
            command += f"{_quoted(folder)}/{name}; done"
        todo = f"decompress {'each' if several else 'it'} (mkdir -p {_quoted(folder)} && {command}) and give "
        return f"compressed with {program}", f"{todo}{folder if several else target}"
    folder = path.with_suffix("") if path.suffix else Path(f"{path}_unpacked")
    command = {
        ".zip": f"unzip {file} -d {_quoted(folder)}",
        ".7z": f"7z x {file} -o{_quoted(folder)}",
        ".rar": f"unrar x {file} {_quoted(folder)}/",
    }[kind]
    return f"a {kind.removeprefix('.')} archive", f"unpack {'each' if several else 'it'} ({command}) and give {folder}"


def _quoted(path: Path) -> str:
    return shlex.quote(str(path))
