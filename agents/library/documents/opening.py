"""Whether a file can be read at all: what it is, that it is whole and open, and how many pages it has."""

from __future__ import annotations

from . import images, pdf
from .errors import DocumentTooLarge, NotADocument
from .records import Opened

MAX_PAGES = 100
PDF_HEADER_WITHIN = 1024  # what readers accept, and what mail gateways put in front


def inspect(data: bytes) -> Opened:
    """What the file is. Raises NotADocument, EncryptedDocument, DamagedDocument or DocumentTooLarge."""
    if b"%PDF-" in data[:PDF_HEADER_WITHIN]:
        opened = Opened(kind="pdf", pages=pdf.count_pages(data))
    elif images.is_image(data):
        opened = Opened(kind="image", pages=images.count_frames(data))
    else:
        raise NotADocument("this is neither a PDF nor an image: send a PDF, PNG, JPEG, TIFF, WebP, BMP or GIF file")
    if opened.pages > MAX_PAGES:
        raise DocumentTooLarge(f"the document has {opened.pages} pages, the limit is {MAX_PAGES}: send it in parts")
    return opened
