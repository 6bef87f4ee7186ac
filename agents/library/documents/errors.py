"""Why a file cannot be read; each is final, and its message says what to send instead."""

from __future__ import annotations

from agents import Permanent


class NotADocument(Permanent):
    """The file is neither a PDF nor an image: send one of those."""


class EncryptedDocument(Permanent):
    """The PDF needs a password: send a copy without one."""


class DamagedDocument(Permanent):
    """The file is cut short or broken: send it again, whole."""


class DocumentTooLarge(Permanent):
    """The document is over a limit: send it in parts or smaller."""
