"""The words of a text as a search compares them, and how much each of them tells."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Sequence

WORD = re.compile(r"[^\W_]+")
COMMON = (  # the last line frames a question: "what happens when", "please tell me what it means"
    "a about after all also am an and any are as at be because been before being but by can could did do does doing "
    "don during each few for from further get had has have having he her here hers him his how i if in into is it its "
    "itself just ll me more most my no nor not now of off on once only or other our out over own re s same she should "
    "so some such t than that the their them then there these they this those through to too under until up ve very "
    "was we were what when where which while who whom why will with would you your "
    "explain happen happened happens mean means please tell want"
)
STOPWORDS = frozenset(COMMON.split())
ENDINGS = ("ings", "ing", "ied", "ies", "ed", "es", "s")


def words(text: str) -> list[str]:
    """The telling words of a text, each reduced to its stem; `max_attempts` is two of them."""
    return [stem(word) for word in WORD.findall(text.lower()) if word not in STOPWORDS]


def stem(word: str) -> str:
    """A word without its English ending, so that `dies`, `died` and `die` meet; rough, and the same for both sides."""
    if len(word) < 3 or not word.isalpha():
        return word
    word = _without_ending(word)
    if len(word) > 3 and word[-1] == word[-2] and word[-1] not in "lsz":
        word = word[:-1]  # stopp(ed)
    return word[:-1] if len(word) > 2 and word[-1] in "ey" else word


def _without_ending(word: str) -> str:
    if word.endswith(("ss", "us", "is")):
        return word
    for ending in ENDINGS:
        rest = word.removesuffix(ending)
        if rest != word and len(rest) > 1 and not set("aeiouy").isdisjoint(rest):
            return rest
    return word


class Rarity:
    """How much each word tells: the fewer passages hold it, the more; one that none holds tells the most."""

    def __init__(self, said: Sequence[Sequence[str]]) -> None:
        self._total = len(said)
        self._holders = Counter(word for each in said for word in set(each))

    def __contains__(self, word: str) -> bool:
        return word in self._holders

    def __getitem__(self, word: str) -> float:
        holders = self._holders[word]
        return math.log(1 + (self._total - holders + 0.5) / (holders + 0.5))

    def coverage(self, asked: Sequence[str], said: frozenset[str]) -> float:
        """The share of the question's words, by weight, that were said: 0 to 1, and 0 for a question of none."""
        whole = sum(self[word] for word in asked)
        return sum(self[word] for word in asked if word in said) / whole if whole else 0.0
