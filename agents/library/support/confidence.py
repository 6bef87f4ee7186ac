"""How likely it is that a passage answers the question, and when that is too little to say anything.

The weights are a logistic regression on the Debian FAQ (121 of its questions, with their own headings shown and hidden)
and on 40 questions about one dense technical text, beside 235 and 335 questions that these do not answer: from other
projects' FAQs, from everyday life, and plain nonsense. At 0.5 they answer 96% of the Debian questions whose heading is
hidden and refuse 91% of the foreign ones; on Python's FAQ, which they were not fitted to, 91% and 91%. What they cannot
see is a question about the right subject that the documents leave open: they answer it from its neighbours.
"""

from __future__ import annotations

import math

TOPIC = 3.7  # cosine of the question with the whole passage, or with its heading if that is nearer
CLOSEST = 8.0  # and with the sentence of it that comes nearest
COVERAGE = 5.6  # the share of the question's words that the passage holds
BIAS = -7.7
ENOUGH = 0.5


def confidence(topic: float, closest: float, coverage: float) -> float:
    """The chance, 0 to 1, that a passage with these figures speaks of what was asked."""
    return 1 / (1 + math.exp(-(TOPIC * topic + CLOSEST * closest + COVERAGE * coverage + BIAS)))
