"""The meaning of a text as a vector, by all-MiniLM-L6-v2."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from .weights import MODEL, TOKENIZER, Weights

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Vectors = NDArray[np.float32]

SIZE = 384  # numbers in a vector
LONGEST = 256  # word pieces the model was trained to read; the rest of a longer text is left out
BATCH = 256  # word pieces, padding included, that go through the model at once: more only leaves the CPU its caches


class Embedder:
    """Turns texts into vectors of length 1, so that their dot product is their cosine. Safe to share by threads."""

    def __init__(self, model: Weights = MODEL, tokenizer: Weights = TOKENIZER) -> None:
        """Load the pinned model. Raises BadWeights where its files are missing or are others."""
        import onnxruntime
        from tokenizers import Tokenizer

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1  # a node runs one such model per replica: more threads only fight
        options.inter_op_num_threads = 1
        options.enable_cpu_mem_arena = False  # it would keep the largest batch's memory for ever
        self.digest = model.sha256
        self._tokenizer = Tokenizer.from_str(tokenizer.read().decode())
        self._tokenizer.no_padding()
        self._tokenizer.enable_truncation(LONGEST)
        self._session = onnxruntime.InferenceSession(model.read(), options, providers=["CPUExecutionProvider"])

    def __call__(self, texts: Sequence[str]) -> Vectors:
        """One vector per text, in their order."""
        import numpy as np

        # One by one: the tokenizer's own batching starts a thread pool, and these texts take a tenth of a millisecond.
        pieces = [self._tokenizer.encode(text).ids for text in texts]
        vectors = np.zeros((len(texts), SIZE), dtype=np.float32)
        for batch in batches([len(each) for each in pieces]):
            vectors[batch] = self._run([pieces[at] for at in batch])
        return vectors

    def _run(self, pieces: Sequence[Sequence[int]]) -> Vectors:
        import numpy as np

        ids = np.zeros((len(pieces), max(map(len, pieces))), dtype=np.int64)
        mask = np.zeros_like(ids)
        for row, each in enumerate(pieces):
            ids[row, : len(each)] = each
            mask[row, : len(each)] = 1
        given = {"input_ids": ids, "attention_mask": mask, "token_type_ids": np.zeros_like(ids)}
        states = self._session.run(["last_hidden_state"], given)[0]
        pooled = (states * mask[:, :, None]).sum(axis=1) / mask.sum(axis=1, keepdims=True)
        vectors: Vectors = (pooled / np.linalg.norm(pooled, axis=1, keepdims=True)).astype(np.float32)
        return vectors


def batches(lengths: Sequence[int]) -> Iterator[list[int]]:
    """Places of texts of like length, so that little is padding and no batch is larger than BATCH."""
    batch: list[int] = []
    for at in sorted(range(len(lengths)), key=lengths.__getitem__):
        if batch and lengths[at] * (len(batch) + 1) > BATCH:
            yield batch
            batch = []
        batch.append(at)
    if batch:
        yield batch
