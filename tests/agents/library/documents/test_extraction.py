"""Labels, currencies, parties and tables as a document of several lines gives them, and what the last check does."""

from __future__ import annotations

from agents.library.documents.checking import check
from agents.library.documents.extraction import MOST_VALUES, extract
from agents.library.documents.records import Date, Fields, Page

from .conftest import page


def fields(*rows: str) -> Fields:
    pages = [page(*rows)]
    return check(extract(pages), pages)


INVOICE = (
    "Invoice",
    "Invoice No: 4711|Invoice Date: 03/04/2021",
    "Bill to:|Jane Doe",
    "Sold by: Acme Tools Ltd.",
    "Subtotal|100.00 EUR",
    "VAT 19 %|19.00 EUR",
    "Total|119.00 EUR",
    "Payment due 17/04/2021",
)


def test_an_invoice_gives_its_type_number_dates_parties_and_labelled_amounts() -> None:
    found = fields(*INVOICE)

    assert found.type is not None
    assert found.type.value == "invoice"
    assert [(i.kind, i.value) for i in found.identifiers] == [("invoice", "4711")]
    assert [(d.label, d.value) for d in found.dates] == [("Invoice Date", "2021-04-03"), ("Payment due", "2021-04-17")]
    assert {(p.role, p.name) for p in found.parties} == {("bill to", "Jane Doe"), ("sold by", "Acme Tools Ltd.")}
    assert [(a.label, a.value, a.currency) for a in found.amounts] == [
        ("Subtotal", "100.00", "EUR"),
        ("VAT 19 %", "19.00", "EUR"),
        ("Total", "119.00", "EUR"),
    ]
    assert found.warnings == ()


def test_a_total_that_does_not_add_up_is_named() -> None:
    rows = [row.replace("119.00", "118.00") for row in INVOICE]

    assert any("do not add up to 118.00 EUR" in warning for warning in fields(*rows).warnings)


def test_a_number_is_money_by_its_row_or_its_column_and_not_by_its_form() -> None:
    assert [a.value for a in fields("Total|34,73", "Volume|55,10").amounts] == ["34.73"]
    assert [a.value for a in fields("Item|Price", "Nail|0.10", "Screw|0.25").amounts] == ["0.10", "0.25"]


def test_the_sign_on_the_first_amount_of_a_column_is_that_of_the_others() -> None:
    right = [cell.model_copy(update={"x0": cell.x0 + 40 - 5 * len(cell.text), "x1": cell.x0 + 40}) for cell in COLUMN]
    pages = [Page(number=1, source="text", lines=tuple(right))]

    found = check(extract(pages), pages).amounts

    assert [(a.value, a.currency) for a in found] == [("106000", "USD"), ("109000", "USD"), ("-110000", "USD")]
    assert found[1].confidence < found[0].confidence


COLUMN = page("$106,000", "109,000", "(110,000)", "n/a", "112,000").lines


def test_the_currency_of_a_bare_amount_is_the_documents_only_one_or_null() -> None:
    assert [a.currency for a in fields("Fee 15,00 EUR", "Total|34,73").amounts] == ["EUR", "EUR"]
    assert [a.currency for a in fields("Fee 15.00 EUR or $18.00", "Total|34.73").amounts] == ["EUR", "USD", None]


def test_a_dollar_sign_is_the_dollar_that_the_document_names() -> None:
    assert [a.currency for a in fields("All prices in CAD", "Total $5.00").amounts] == ["CAD"]


def test_a_currency_sign_in_a_cell_of_its_own_belongs_to_the_number_beside_it() -> None:
    lines = page("$").lines + tuple(line.model_copy(update={"x0": 70, "x1": 110}) for line in page("1,200.00").lines)
    pages = [Page(number=1, source="text", lines=lines)]

    assert [(a.value, a.currency) for a in check(extract(pages), pages).amounts] == [("1200.00", "USD")]


def test_a_checksum_that_fails_is_named() -> None:
    assert fields("IBAN: DE88 3704 0044 0532 0130 00").warnings == (
        "page 1: the checksum of IBAN DE88370400440532013000 does not hold",
    )


def test_a_value_that_does_not_stand_on_its_page_is_left_out_and_counted() -> None:
    pages = [page("Nothing of that sort here")]
    invented = Date(page=1, text="1 May 2020", confidence=0.9, value="2020-05-01")
    elsewhere = Date(page=7, text="Nothing", confidence=0.9, value="2020-05-01")
    found = Fields(type=None, pages=1, dates=(invented, elsewhere))

    checked = check(found, pages)

    assert checked.dates == ()
    assert checked.warnings == ("2 values were left out: they could not be found again on their pages",)


def test_too_many_values_are_cut_with_a_warning_rather_than_too_heavy_a_result() -> None:
    pages = [page(*["2020-01-01"] * (MOST_VALUES + 5))]

    found = extract(pages)

    assert len(found.dates) == MOST_VALUES
    assert any(str(MOST_VALUES + 5) in warning for warning in found.warnings)


def test_a_blank_scan_and_a_poor_one_are_named() -> None:
    blank = Page(number=1, source="ocr", lines=())
    poor = Page(
        number=2, source="ocr", lines=tuple(li.model_copy(update={"confidence": 0.6}) for li in page("abc").lines)
    )

    warnings = check(extract([blank, poor]), [blank, poor]).warnings

    assert warnings == ("page 1: no text was found", "page 2: the scan is hard to read (confidence 0.60)")


def test_a_document_without_clues_has_no_type() -> None:
    assert fields("The quick brown fox").type is None
