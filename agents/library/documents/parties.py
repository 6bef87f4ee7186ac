"""Who the document is from, for and about: labelled names, and names that are organisations by their own words."""

from __future__ import annotations

import re
from collections.abc import Iterator

_LABEL = (
    r"from|to|bill(?:ed|ing)?(?:\s+to)?(?:\s+address)?|ship(?:ping)?(?:\s+to)?(?:\s+address)?|sold\s+(?:to|by)|"
    r"service\s+provider|(?:customer|guest|account)\s+name|seller|buyer|vendor|supplier|customer|client|payee|payer|"
    r"lessor|lessee|landlord|tenant|plaintiff|defendant|applicant|attention|attn|employer|employee|"
    r"verkäufer|käufer|lieferant|kunde|rechnung\s+an|vendeur|acheteur|fournisseur|von|an"
)
LABELLED = re.compile(rf"^\s*(?P<role>{_LABEL})\s*:\s*(?P<name>\S.*)$", re.IGNORECASE)
LABEL_ALONE = re.compile(rf"^\s*(?P<role>{_LABEL})\s*:\s*$", re.IGNORECASE)

_CAP = r"[A-ZÄÖÜÉÈ][\w’'.&-]*"
_JOIN = r"(?:\s+(?:of|the|for|and|&|de|des|du|la|le|für|der|und)\s+|\s+)"
_SUFFIX = (
    r"Inc\.?|L\.?L\.?C\.?|Ltd\.?|Limited|Corp\.?|Corporation|Company|Co\.|GmbH(?:\s*&\s*Co\.?\s*KG)?|AG|KG|S\.A\.(?:S\.)?|SAS|"
    r"SARL|S\.?p\.?A\.?|B\.V\.|N\.V\.|PLC|plc|Pvt\.?\s+Ltd\.?|e\.V\."
)
_BODY = (
    r"Administration|Agency|Association|Authority|Bank|Bureau|Commission|Committee|Council|Court|Foundation|Institute|"
    r"Ministry|Office|Organi[sz]ation|Service|Society|University"
)
COMPANY = re.compile(rf"(?<!\w)(?P<name>{_CAP}(?:\s+(?:&\s+)?{_CAP}){{0,5}},?\s+(?:{_SUFFIX}))(?!\w)")
BODY = re.compile(rf"(?<!\w)(?P<name>(?:U\.S\.\s+)?(?:{_CAP}\s+(?:and\s+)?){{1,5}}(?:{_BODY}))(?!\w)")
HEADED = re.compile(
    rf"(?<!\w)(?P<name>(?:U\.S\.\s+)?(?:{_CAP}\s+){{0,2}}(?:Department|Bureau|Ministry|University|Office|Bank|Institute)\s+of\s+(?:the\s+)?{_CAP}(?:{_JOIN}{_CAP}){{0,4}})"
)
_NOT_FIRST = {"The", "This", "That", "In", "On", "At", "By", "For", "From", "To", "If", "Your", "Our", "See", "A", "An"}

_GENERIC = {"Registered", "Corporate", "Head", "Main", "Customer", "Regional", "Local"}


def find_labelled(text: str) -> Iterator[tuple[int, int, tuple[str, str]]]:
    """A line such as 'Bill to: Jane Doe' as (role, name)."""
    match = LABELLED.match(text)
    if match and _looks_like_a_name(match["name"]):
        yield match.start(), match.end(), (match["role"].lower(), match["name"].strip(" ,;"))


def find_organisations(text: str) -> Iterator[tuple[int, int, tuple[str, str]]]:
    """Names that end or begin as organisations do, as ('organisation', name)."""
    for pattern in (COMPANY, HEADED, BODY):
        for match in pattern.finditer(text):
            name, start = _without_lead(match["name"], match.start())
            if len(name.split()) >= 2 and name.split()[0] not in _GENERIC:
                yield start, match.start() + len(match["name"]), ("organisation", name)


def _without_lead(name: str, start: int) -> tuple[str, int]:
    words = name.split(" ")
    while len(words) > 1 and words[0] in _NOT_FIRST:
        start += len(words[0]) + 1
        words = words[1:]
    return " ".join(words), start


def _looks_like_a_name(text: str) -> bool:
    return len(text) <= 80 and len(text.split()) <= 10 and any(c.isupper() for c in text.split()[0])
