"""Answers questions from a folder of documents, in their own words and with the places they stand."""

from .agent import Support
from .reading import NothingToRead
from .records import Answer, Found, Passage, Question, Quote
from .weights import BadWeights

__all__ = ["Answer", "BadWeights", "Found", "NothingToRead", "Passage", "Question", "Quote", "Support"]
