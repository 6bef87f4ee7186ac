"""The documents agent and what it takes and gives."""

from .agent import Documents
from .records import Document, Fields

__all__ = ["Document", "Documents", "Fields"]
