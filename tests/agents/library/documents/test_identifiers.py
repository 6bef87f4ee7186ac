"""Identifiers by label and by form, and the checksums that some carry."""

from __future__ import annotations

import pytest

from agents.library.documents.checksums import iban_is_valid, isbn_is_valid, vat_is_valid
from agents.library.documents.identifiers import find_identifiers


def found(text: str) -> list[tuple[str, str]]:
    return [(named.kind, named.value) for _, _, named in find_identifiers(text)]


@pytest.mark.parametrize(
    ("text", "kind", "value"),
    [
        ("OMB No. 1545-0074", "omb", "1545-0074"),
        ("OMB Number: 4040-0004", "omb", "4040-0004"),
        ("Form 1040A (2007)", "form", "1040A"),
        ("Form(s)\nW-2", "form", "W-2"),
        ("Application for Federal Assistance SF-424", "form", "SF-424"),
        ("Pub. L. No. 105-304,", "public law", "105-304"),
        ("112 Stat. 2860 (Oct", "statute", "112 Stat. 2860"),
        ("Cat. No. 11327A", "document", "11327A"),
        ("Invoice Number: 42183017", "invoice", "42183017"),
        ("Invoice No : # BLR_WFLD20151000982590", "invoice", "BLR_WFLD20151000982590"),
        ("Rechnungsnr. 30064443", "invoice", "30064443"),
        ("Facture n°562044387 du", "invoice", "562044387"),
        ("Order ID: OD304175096047380001", "order", "OD304175096047380001"),
        ("Steuer-Nr. 044 241 601 03", "tax", "044 241 601 03"),
        ("EIN: 12-3456789", "ein", "12-3456789"),
        ("011\n00\n2222", "ssn", "011 00 2222"),
        ("UStId DE 232 446 240", "vat", "DE232446240"),
        ("IBAN DE30507500940000048567", "iban", "DE30507500940000048567"),
        ("IBAN: DE89 3704 0044 0532 0130 00", "iban", "DE89370400440532013000"),
        ("ISBN 978-0-306-40615-7", "isbn", "978-0-306-40615-7"),
    ],
)
def test_an_identifier_is_found_with_its_kind(text: str, kind: str, value: str) -> None:
    assert (kind, value) in found(text)


@pytest.mark.parametrize(
    "text", ["Form and order", "invoice number unknown to us", "no. 5", "2830-34", "DE 000 000 001"]
)
def test_words_and_numbers_without_a_name_are_left_alone(text: str) -> None:
    assert found(text) == []


def test_a_labelled_iban_that_fails_its_checksum_is_reported_as_invalid_and_unsure() -> None:
    named = [named for _, _, named in find_identifiers("IBAN: DE88 3704 0044 0532 0130 00") if named.kind == "iban"]

    assert [(n.valid, n.certainty < 0.5) for n in named] == [(False, True)]


def test_an_unlabelled_string_that_fails_the_checksum_is_no_iban() -> None:
    assert found("DE88 3704 0044 0532 0130 00") == []


def test_checksums_hold_or_fail() -> None:
    assert iban_is_valid("GB82 WEST 1234 5698 7654 32")
    assert not iban_is_valid("GB82 WEST 1234 5698 7654 33")
    assert not iban_is_valid("DE8937040044053201300")
    assert isbn_is_valid("0-306-40615-2")
    assert not isbn_is_valid("0-306-40615-3")
    assert isbn_is_valid("9780306406157")
    assert vat_is_valid("DE136695976") is True
    assert vat_is_valid("DE136695977") is False
    assert vat_is_valid("FR60421938861") is True
    assert vat_is_valid("FR61421938861") is False
    assert vat_is_valid("IE1234567T") is None
