"""Where one sentence ends and the next begins."""

from __future__ import annotations

import re

END = re.compile(r"""[.!?]+["'”’)\]]*\s+(?=["'“‘(\[]?[^\W_a-z])""")
SHORT = (
    "al approx art cf ch chap co corp dept dr ed eds eg e.g etc ex fig figs i.e ie inc jr ltd mr mrs ms no nos nr p pp "
    "prof sec sect sr st vol vs"
)
ABBREVIATIONS = frozenset(SHORT.split())


def sentences(text: str) -> tuple[str, ...]:
    """The sentences of one paragraph, none lost and none empty; `e.g. This` and `J. Smith` do not end one."""
    found = []
    start = 0
    for end in END.finditer(text):
        if not _abbreviated(text[start : end.start()]):
            found.append(text[start : end.end()].strip())
            start = end.end()
    return tuple(sentence for sentence in [*found, text[start:].strip()] if sentence)


def _abbreviated(before: str) -> bool:
    word = re.split(r"[\s(\[]", before)[-1].strip("\"'“‘").lower()
    return word in ABBREVIATIONS or (len(word) == 1 and word.isalpha() and word != "i")
