"""Files that cannot be read are refused with the reason, and those that can are counted."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from agents import Permanent
from agents.library.documents.errors import DamagedDocument, DocumentTooLarge, EncryptedDocument, NotADocument
from agents.library.documents.opening import MAX_PAGES, inspect

from .conftest import path_of

Encode = Callable[..., bytes]


def saved(pdf: Any) -> bytes:
    import io

    buffer = io.BytesIO()
    pdf.save(buffer)
    return buffer.getvalue()


@pytest.mark.parametrize(
    "data", [b"", b"\0" * 100, b"hello", b"<html></html>", b"PK\x03\x04 a zip", b"{\\rtf1}", "ä".encode() * 999]
)
def test_what_is_neither_pdf_nor_image_is_refused(data: bytes) -> None:
    with pytest.raises(NotADocument, match="send a PDF"):
        inspect(data)


@pytest.mark.parametrize(
    "name", ["samples/dmca-summary-1998.pdf", "samples/tax-form-1040a-2007.pdf", "data/sf424-page2.pdf"]
)
@pytest.mark.parametrize("share", [0.001, 0.1, 0.25, 0.5, 0.75, 0.9, 0.99])
def test_a_truncated_pdf_is_refused_wherever_it_was_cut(name: str, share: float) -> None:
    data = path_of(name).read_bytes()

    with pytest.raises(DamagedDocument, match="whole file"):
        inspect(data[: max(8, int(len(data) * share))])


def test_a_pdf_that_lost_its_last_revision_is_truncated_too() -> None:
    data = path_of("samples/siege-of-vicksburg-scan.pdf").read_bytes()

    with pytest.raises(DamagedDocument):
        inspect(data + b"\n9 0 obj\n<< /Type /Page")


def test_an_encrypted_pdf_is_refused_and_the_message_says_what_to_send() -> None:
    with pytest.raises(EncryptedDocument, match="copy without"):
        inspect(path_of("data/encrypted.pdf").read_bytes())


def test_a_pdf_without_content_behind_its_header_is_damaged() -> None:
    with pytest.raises(DamagedDocument):
        inspect(b"%PDF-1.7\nnothing of a PDF follows\n%%EOF\n")


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "TIFF", "WEBP", "BMP", "GIF"])
def test_every_picture_format_is_opened_and_its_truncated_file_refused(scan: Any, encode: Encode, kind: str) -> None:
    data = encode(scan, kind)

    assert inspect(data).kind == "image"
    with pytest.raises((DamagedDocument, NotADocument)):
        inspect(data[: len(data) // 2])


def test_the_frames_of_a_tiff_are_its_pages(scan: Any, encode: Encode) -> None:
    assert inspect(encode(scan, "TIFF", save_all=True, append_images=[scan, scan])).pages == 3


def test_a_picture_of_too_many_pixels_is_refused_before_it_is_decoded(encode: Encode) -> None:
    from PIL import Image

    with pytest.raises(DocumentTooLarge):
        inspect(encode(Image.new("1", (20_000, 20_000)), "PNG"))


def test_a_document_of_too_many_pages_is_refused() -> None:
    import pypdfium2

    pdf = pypdfium2.PdfDocument.new()
    for _ in range(MAX_PAGES + 1):
        pdf.new_page(10, 10)

    with pytest.raises(DocumentTooLarge, match=f"{MAX_PAGES + 1} pages"):
        inspect(saved(pdf))


def test_mail_headers_before_and_white_space_behind_a_pdf_do_no_harm() -> None:
    data = path_of("samples/siege-of-vicksburg-scan.pdf").read_bytes()

    assert inspect(data + b"\r\n\0\0\0").pages == 2
    assert inspect(b"Content-Type: application/pdf\r\n\r\n" + data).pages == 2


def test_every_refusal_is_final() -> None:
    for refusal in (NotADocument, EncryptedDocument, DamagedDocument, DocumentTooLarge):
        assert issubclass(refusal, Permanent)
