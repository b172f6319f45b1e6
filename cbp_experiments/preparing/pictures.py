"""Decodes one image, from its bytes to uint8 `[3, 32, 32]`."""

import io
import warnings
from pathlib import PurePosixPath

import numpy as np
from PIL import Image, UnidentifiedImageError

from cbp_experiments.streams.image_cache import SIDE

# Extensions of files that are clearly not images. Anything else that cannot be decoded is a broken image.
NO_IMAGES = {
    *(".txt", ".csv", ".tsv", ".md", ".rst", ".json", ".jsonl", ".xml", ".yaml", ".yml", ".html", ".htm", ".pdf"),
    *(".log", ".py", ".sh", ".m", ".mat", ".ini", ".db", ".md5", ".sha256"),
}
# Folders that a NAS, an operating system or a file system makes by itself; lower case. Images in them are thumbnails,
# deleted files and the like.
SYSTEM_FOLDERS = {
    *("@eadir", "@tmp", "@recycle", "@recently-snapshot", "#recycle", "#snapshot", "~snapshot", ".snapshot"),
    *("__macosx", "lost+found", "$recycle.bin", "recycler", "system volume information", ".@__thumb"),
}


class BrokenImage(ValueError):
    """The bytes are not an image that Pillow can read; the message says why."""


def decode(content: bytes) -> np.ndarray:
    """Convert the whole image to RGB and scale it with Pillow's box filter: uint8 `[3, 32, 32]`.

    Greyscale, palette and CMYK images are converted; transparency is dropped and orientation tags are ignored, as in
    downsampled ImageNet (Chrabaszcz et al., 2017). Raises BrokenImage.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about tags and sizes; what cannot be read raises
            with Image.open(io.BytesIO(content)) as image:
                if image.mode[0] in "IF" or any(";16" in str(tile) for tile in getattr(image, "tile", ())):
                    raise BrokenImage(f"its pixels have more than 8 bits (mode {image.mode})")  # Pillow would clip them
                scaled = image.convert("RGB").resize((SIDE, SIDE), Image.Resampling.BOX)
    except (MemoryError, BrokenImage):
        raise
    except UnidentifiedImageError as error:  # its text contains a memory address
        raise BrokenImage("not an image that Pillow knows") from error
    except Exception as error:  # a damaged image raises almost anything
        raise BrokenImage(" ".join(str(error).split()) or type(error).__name__) from error
    return np.asarray(scaled).transpose(2, 0, 1)


def no_image(name: str) -> str | None:
    """Name the kind of a file that is not decoded: "hidden", or an extension of NO_IMAGES; None for other files."""
    path = PurePosixPath(name)
    if any(part.startswith(".") for part in path.parts):
        return "hidden"
    suffix = path.suffix.lower()
    return suffix if suffix in NO_IMAGES else None


def system_folder(name: str) -> str | None:
    """Return the outermost folder in a path that a system made and that holds no data; None if there is none."""
    parts = PurePosixPath(name).parts
    for end, part in enumerate(parts, start=1):
        if part.lower() in SYSTEM_FOLDERS or part.lower().startswith(".trash"):
            return "/".join(parts[:end])
    return None
