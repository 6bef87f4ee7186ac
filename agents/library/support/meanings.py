"""What every sentence and every passage means: vectors, kept on disk so that the next start need not compute them."""

from __future__ import annotations

import fcntl
import hashlib
import os
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from itertools import chain, groupby
from pathlib import Path
from typing import TYPE_CHECKING

from .embedder import SIZE, Embedder
from .records import Passage

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from .embedder import Vectors

HEADING = 0.5  # how much a passage's heading weighs in its meaning, beside 1 for all its sentences


@dataclass(frozen=True, slots=True)
class Meanings:
    """Vectors of length 1: the sentences of all passages in order, each passage's first at `starts`; and, passage by
    passage, its heading (zeros where it has none) and its whole."""

    sentences: Vectors
    starts: NDArray[np.intp]
    headings: Vectors
    wholes: Vectors

    def closest(self, asked: Vectors) -> Vectors:
        """For every passage the cosine of its sentence that comes nearest to what was asked."""
        import numpy as np

        nearest: Vectors = np.maximum.reduceat(self.sentences @ asked, self.starts)
        return nearest

    def topic(self, asked: Vectors) -> Vectors:
        """For every passage the cosine of all of it, or of its heading if that comes nearer."""
        import numpy as np

        nearest: Vectors = np.maximum(self.wholes @ asked, self.headings @ asked)
        return nearest

    def of(self, passage: int) -> Vectors:
        """The vectors of the sentences of the passage at this place."""
        end = self.starts[passage + 1] if passage + 1 < len(self.starts) else len(self.sentences)
        return self.sentences[self.starts[passage] : end]


def meanings(passages: Sequence[Passage], embed: Embedder, cache: Path | None) -> Meanings:
    """The meanings of all passages. Those of a document that this model met before are read from `cache`."""
    import numpy as np

    documents = [_texts(group) for _, group in groupby(passages, key=lambda passage: passage.file)]
    known = dict(zip(chain(*documents), np.concatenate(_read(documents, embed, cache)), strict=True))
    sentences = [np.stack([known[text] for text in passage.sentences]) for passage in passages]
    headings = np.stack([known[passage.title] * bool(passage.title) for passage in passages])
    starts = np.cumsum([0] + [len(rows) for rows in sentences[:-1]])
    return Meanings(
        np.concatenate(sentences), starts, headings, np.stack(list(map(_whole, passages, sentences, headings)))
    )


def _texts(passages: Iterable[Passage]) -> list[str]:
    return list(dict.fromkeys(text for passage in passages for text in (passage.title, *passage.sentences)))


def _whole(passage: Passage, sentences: Vectors, heading: Vectors) -> Vectors:
    """A passage's meaning: the mean of its sentences', long ones a little more, pulled towards its heading's."""
    import numpy as np

    weights = np.sqrt([len(text) for text in passage.sentences], dtype=np.float32)
    vector = weights @ sentences / weights.sum() + HEADING * heading
    whole: Vectors = vector / np.linalg.norm(vector)
    return whole


def _read(documents: Sequence[list[str]], embed: Embedder, cache: Path | None) -> list[Vectors]:
    """The vectors of each document. Processes that start together share the work: each leaves alone what another is at,
    and reads that in the end."""
    if cache is None:
        return [embed(texts) for texts in documents]
    found: dict[int, Vectors] = {}
    for wait in (False, True):
        for at, texts in enumerate(documents):
            if at not in found and (vectors := _vectors(texts, embed, cache, wait=wait)) is not None:
                found[at] = vectors
    return [found[at] for at in range(len(documents))]


def _vectors(texts: list[str], embed: Embedder, cache: Path, *, wait: bool) -> Vectors | None:
    """None where another process is at them, unless that is to be waited for."""
    name = hashlib.sha256("\0".join([embed.digest, *texts]).encode("utf-8", "replace")).hexdigest()
    kept = cache / f"{name}.npy"
    vectors = _load(kept, len(texts))
    if vectors is None:
        with _alone(kept.with_suffix(".lock"), wait=wait) as alone:
            if alone and (vectors := _load(kept, len(texts))) is None:
                vectors = embed(texts)
                _save(kept, vectors)
    return vectors


@contextmanager
def _alone(lock: Path, *, wait: bool) -> Iterator[bool]:
    """Whether no other process is at it until the block ends. Where the disk has no place for a lock nobody asks."""
    with ExitStack() as stack:
        alone = True
        try:
            lock.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            held = stack.enter_context(lock.open("w"))
            fcntl.flock(held, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError:
            alone = False
        except OSError:
            pass
        yield alone
        if alone:
            with suppress(OSError):
                lock.unlink()  # whoever waits for it finds what we kept


def _load(path: Path, count: int) -> Vectors | None:
    import numpy as np

    try:
        vectors: Vectors = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError):
        return None
    return vectors if vectors.shape == (count, SIZE) and vectors.dtype == np.float32 else None


def _save(path: Path, vectors: Vectors) -> None:
    """Keep the vectors if the disk lets us: whole or not at all, as several workers may start at once."""
    import numpy as np

    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=path.parent, suffix=".part", delete=False) as part:
            np.save(part, vectors)
        os.replace(part.name, path)
    except OSError:
        return  # a home that cannot be written costs the next start some seconds, not this one its life


def default_cache() -> Path | None:
    """Where this user's programs keep what they can compute again; None for a user without a home."""
    try:
        return Path.home() / ".cache" / "rubato" / "support"
    except RuntimeError:
        return None
