"""Numbers that carry a checksum, and whether it holds."""

from __future__ import annotations

import re

IBAN_LENGTHS = {"DE": 22, "FR": 27, "GB": 22, "AT": 20, "CH": 21, "NL": 18, "BE": 16, "ES": 24, "IT": 27, "LU": 20} | {
    "PL": 28,
    "SE": 24,
    "DK": 18,
    "NO": 15,
    "FI": 18,
    "PT": 25,
    "IE": 22,
    "CZ": 24,
}


def iban_is_valid(text: str) -> bool:
    """ISO 13616: the length of its country where that is known, and 1 modulo 97."""
    iban = re.sub(r"\s", "", text).upper()
    if not re.fullmatch(r"[A-Z]{2}\d{2}[A-Z0-9]{11,30}", iban) or len(iban) != IBAN_LENGTHS.get(iban[:2], len(iban)):
        return False
    return int("".join(str(int(c, 36)) for c in iban[4:] + iban[:4])) % 97 == 1


def isbn_is_valid(text: str) -> bool:
    """ISBN-10 modulo 11 or ISBN-13 modulo 10."""
    digits = re.sub(r"[\s-]", "", text).upper()
    if re.fullmatch(r"\d{9}[\dX]", digits):
        return sum((10 - n) * (10 if c == "X" else int(c)) for n, c in enumerate(digits)) % 11 == 0
    if re.fullmatch(r"\d{13}", digits):
        return sum(int(c) * (3 if n % 2 else 1) for n, c in enumerate(digits)) % 10 == 0
    return False


def vat_is_valid(text: str) -> bool | None:
    """The check of a German or French VAT number; None for countries whose rule is not known here."""
    vat = re.sub(r"\s", "", text).upper()
    if re.fullmatch(r"DE\d{9}", vat):
        return _mod_11_10(vat[2:])
    if re.fullmatch(r"FR\d{11}", vat):
        return int(vat[2:4]) == (12 + 3 * (int(vat[4:]) % 97)) % 97
    return None


def _mod_11_10(digits: str) -> bool:
    """ISO 7064 MOD 11,10: the last digit checks the others."""
    product = 10
    for digit in digits[:-1]:
        total = (int(digit) + product) % 10 or 10
        product = 2 * total % 11
    return (11 - product) % 10 == int(digits[-1])
