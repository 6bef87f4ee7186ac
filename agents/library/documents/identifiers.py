"""Numbers that name things: labelled ones, and those whose own form says what they are."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from .checksums import iban_is_valid, isbn_is_valid, vat_is_valid

_NO = r"(?:\s*(?:no|number|nr|num|n°|nº|#|id)\b\.?|\s*[#№]|\s+identification\s+number)"
_VALUE = r"(?P<value>[A-Z0-9](?:[A-Z0-9]|[-/._](?=[A-Z0-9])){2,39})"
_SEP = r"[\s:.#]*"

_LABELS = {
    "invoice": r"invoice|rechnungs?|facture",
    "order": r"(?:purchase\s+)?order|bestell|auftrags?|commande",
    "customer": r"customer|client|kunden",
    "account": r"account|konto|compte",
    "contract": r"contract|agreement|vertrags?|contrat|policy",
    "case": r"case|docket|claim|matter|aktenzeichen",
    "document": r"document|report|catalog|cat\.|publication|serial|reference|ref\.?|file|permit|license|patent",
    "funding opportunity": r"funding\s+opportunity",
    "competition": r"competition",
}
_LABELLED = [
    (kind, re.compile(rf"(?<![\w-])(?:{words}){_NO}{_SEP}{_VALUE}(?![\w/])", re.IGNORECASE))
    for kind, words in _LABELS.items()
]
_COMPOUNDS = {
    "invoice": r"rechnungs(?:nummer|-?nr\.?)|n°\s*(?:de\s*)?facture|facture\s+n°",
    "customer": r"kunden(?:nummer|-?nr\.?)|n°\s*(?:de\s*)?client",
    "order": r"(?:bestell|auftrags)(?:nummer|-?nr\.?)|n°\s*(?:de\s*)?commande",
    "siret": r"siret",
}
_LABELLED += [
    (kind, re.compile(rf"(?<!\w)(?:{words}){_SEP}{_VALUE}(?![\w/])", re.IGNORECASE))
    for kind, words in _COMPOUNDS.items()
]
_SHAPED = [
    ("tax", re.compile(r"\bsteuer(?:nummer|-?nr\.?)\s*:?\s*(?P<value>\d{2,5}(?:[ /]\d{2,5}){1,4})\b", re.IGNORECASE)),
    ("tax", re.compile(r"\btax\s+(?:id|identification)\b[\s:.#a-z]{0,12}(?P<value>\d[\d -]{6,12}\d)\b", re.IGNORECASE)),
    ("omb", re.compile(r"\bOMB\s*(?:control\s*)?(?:no\.?|number|#)?\s*:?\s*(?P<value>\d{4}-\d{4})\b", re.IGNORECASE)),
    ("form", re.compile(r"\bForms?(?:\(s\))?\s+(?P<value>(?=[\w-]*\d)[A-Z]{0,3}-?\d[\dA-Z]*(?:-[A-Z0-9]+)*)\b")),
    ("form", re.compile(r"(?<!\w)(?P<value>(?:SF|OF|DD|GSA)-\d{1,4}[A-Z]?)\b")),
    ("public law", re.compile(r"\bPub(?:lic|\.)\s*L(?:aw|\.)\s*(?:No\.)?\s*(?P<value>\d{1,3}-\d{1,3})\b")),
    ("statute", re.compile(r"\b(?P<value>\d{1,3}\s+Stat\.\s+\d{1,5})\b")),
    ("ein", re.compile(r"\bEIN\s*:?\s*(?P<value>\d{2}-\d{7})\b")),
    ("ssn", re.compile(r"(?<![\d-])(?P<value>\d{3}(\s|-)\d{2}\2\d{4})(?![\d-])")),
    ("cfda", re.compile(r"\bCFDA\s*(?:No\.?|Number)?\s*:?\s*(?P<value>\d{2}\.\d{3})\b", re.IGNORECASE)),
    ("doi", re.compile(r"\b(?P<value>10\.\d{4,9}/[^\s\"<>]+[\w)])")),
    ("iban", re.compile(r"(?<!\w)(?P<value>[A-Z]{2}\d{2}(?: ?[A-Z0-9]{4}){2,7}(?: ?[A-Z0-9]{1,3})?)(?!\w)")),
    ("vat", re.compile(r"(?<!\w)(?P<value>(?:DE(?: ?\d{3}){3}|ATU ?\d{8}|FR(?: ?\d){11}))(?!\w)")),
    ("vat", re.compile(r"(?<!\w)(?P<value>(?:GB|IT|ES|NL|BE|LU|PL|SE|DK|IE) ?[A-Z0-9]{8,12})(?=\s|$|[,;.])")),
    ("isbn", re.compile(r"\bISBN(?:-1[03])?\s*:?\s*(?P<value>[\d][\d -]{8,15}[\dX])\b", re.IGNORECASE)),
]
_CHECKS = {"iban": iban_is_valid, "isbn": isbn_is_valid, "vat": vat_is_valid}


@dataclass(frozen=True, slots=True)
class Named:
    """An identifier, what it names, and the result of its checksum if it has one."""

    kind: str
    value: str
    valid: bool | None
    certainty: float


def find_identifiers(text: str) -> Iterator[tuple[int, int, Named]]:
    """Each identifier with its place in the text, its label included."""
    for kind, pattern in _LABELLED:
        for match in pattern.finditer(text):
            if any(c.isdigit() for c in match["value"]) or match["value"].isupper():
                yield match.start(), match.end(), Named(kind, match["value"], None, 0.9)
    for kind, pattern in _SHAPED:
        for match in pattern.finditer(text):
            named = _shaped(kind, match["value"], labelled=kind.upper() in text.upper())
            if named:
                yield match.start(), match.end(), named


def _shaped(kind: str, value: str, *, labelled: bool) -> Named | None:
    """None where only the shape fits and a checksum speaks against it."""
    value = " ".join(value.split())
    check = _CHECKS.get(kind)
    if check is None:
        return Named(kind, value, None, 0.9)
    valid = check(value)
    if valid is False and not labelled:
        return None
    if valid is None and not labelled:
        return None
    return Named(kind, value.replace(" ", "") if kind != "isbn" else value, valid, 0.99 if valid else 0.4)
