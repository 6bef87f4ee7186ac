"""Pictures: whether bytes are one, how many frames it has, and a frame as an array that OCR can read."""

from __future__ import annotations

import io
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from .errors import DamagedDocument, DocumentTooLarge, NotADocument

FORMATS = ("PNG", "JPEG", "TIFF", "WEBP", "BMP", "GIF")
MAX_PIXELS = 100_000_000


def is_image(data: bytes) -> bool:
    """Whether the bytes begin like a picture of a format that is read here."""
    starts = (b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"II*\x00", b"MM\x00*", b"BM", b"GIF8")
    return data.startswith(starts) or (data[:4] == b"RIFF" and data[8:12] == b"WEBP")


def count_frames(data: bytes) -> int:
    """How many pictures the file holds; the first is decoded, so that a broken one is refused at once."""
    with _opened(data) as image:
        image.load()
        return int(getattr(image, "n_frames", 1))


def frame(data: bytes, number: int, longest_side: int) -> Any:
    """Picture `number` (from 1) upright as a BGR array no longer than asked, and the pixels that one of its is."""
    import numpy as np
    from PIL import Image, ImageOps

    with _opened(data) as image:
        image.seek(number - 1)
        upright = ImageOps.exif_transpose(image)
        shrink = max(1.0, max(upright.size) / longest_side)
        rgb = _on_white(upright)
        if shrink > 1:
            size = (max(1, round(rgb.width / shrink)), max(1, round(rgb.height / shrink)))
            rgb = rgb.resize(size, Image.Resampling.LANCZOS)
        return np.ascontiguousarray(np.asarray(rgb)[:, :, ::-1]), shrink


def _on_white(image: Any) -> Any:
    """RGB without transparency: palettes and alpha channels otherwise turn into black paper."""
    from PIL import Image

    if image.mode.startswith("I;16") or image.mode in ("I", "F"):
        return image.point(lambda value: value / 256).convert("L").convert("RGB")
    if image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info:
        rgba = image.convert("RGBA")
        paper = Image.new("RGBA", rgba.size, "white")
        return Image.alpha_composite(paper, rgba).convert("RGB")
    return image.convert("RGB")


@contextmanager
def _opened(data: bytes) -> Iterator[Any]:
    from PIL import Image, UnidentifiedImageError

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            image = Image.open(io.BytesIO(data), formats=FORMATS)
        with image:
            if image.width * image.height > MAX_PIXELS:
                raise DocumentTooLarge(f"the picture has {image.width} x {image.height} pixels: send it smaller")
            yield image
    except Image.DecompressionBombError as error:
        raise DocumentTooLarge("the picture has too many pixels: send it smaller") from error
    except UnidentifiedImageError as error:
        raise NotADocument("the file begins like a picture but is none that can be read") from error
    except (OSError, SyntaxError, EOFError, ValueError) as error:
        raise DamagedDocument("the picture is cut short or damaged: send the whole file again") from error
