"""The network of a ``transformer`` artefact: pretrained encoder → one vector per text → linear head → probabilities.

Imports PyTorch and transformers, so only code that is about to run a network imports this module. It sits under both
``models`` (which trains and exports it) and ``runtimes`` (which serves it), so that the two cannot differ.

An artefact directory holds ``config.json`` (of the encoder, in the hub's form), ``model.safetensors`` (``encoder.*`` and
``head.*``) and ``tokenizer.json``; ``Artifact.meta`` holds ``pooling`` and ``normalise``.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

os.environ["HF_HUB_OFFLINE"] = "1"  # before transformers is imported: nothing here may reach for a network
os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from transformers import AutoConfig, AutoModel
from transformers.utils import logging as _logging

_quiet: Any = _logging
_quiet.set_verbosity_error()
_quiet.disable_progress_bar()
_auto: Any = AutoModel

WEIGHTS = "model.safetensors"
_BATCH_TOKENS = 2048


class TextNetwork(nn.Module):
    """Encoder, pooling, optional normalisation, dropout and a linear head.

    Args:
        encoder: a transformers encoder without its own pooler.
        classes: number of classes.
        pooling: ``mean`` over the tokens that are not padding, ``first`` (the [CLS] vector) or ``last`` (decoders).
        normalise: divide the pooled vector by its length.
        dropout: share of the pooled vector dropped while training.

    """

    def __init__(
        self, encoder: nn.Module, classes: int, *, pooling: str, normalise: bool, dropout: float = 0.1
    ) -> None:
        super().__init__()
        self.encoder = encoder
        self.pooling = pooling
        self.normalise = normalise
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(int(cast("Any", encoder.config).hidden_size), classes)

    def embed(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """Return pooled vectors (n, hidden)."""
        hidden = self.encoder(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state
        if self.pooling == "first":
            pooled = hidden[:, 0]
        elif self.pooling == "last":
            last = attention_mask.sum(dim=1) - 1
            pooled = hidden[torch.arange(hidden.shape[0]), last]
        else:
            weights = attention_mask.unsqueeze(-1).to(hidden.dtype)
            pooled = (hidden * weights).sum(dim=1) / weights.sum(dim=1).clamp(min=1)
        return nn.functional.normalize(pooled, dim=-1) if self.normalise else pooled

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """Return logits (n, classes)."""
        return cast("Tensor", self.head(self.dropout(self.embed(input_ids, attention_mask))))


class WithProbabilities(nn.Module):
    """The network followed by a softmax: what is exported. Call ``eval()`` on this wrapper, not only on the inside."""

    def __init__(self, network: TextNetwork) -> None:
        super().__init__()
        self.network = network

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """Return probabilities (n, classes)."""
        return torch.softmax(self.network(input_ids, attention_mask), dim=-1)


def set_threads(threads: int) -> None:
    """Use at most ``threads`` threads in this process, none of them between operators."""
    torch.set_num_threads(threads)
    if torch.get_num_interop_threads() != 1:
        try:
            torch.set_num_interop_threads(1)
        except RuntimeError:  # only possible before the first parallel work of the process
            return


def bfloat16_is_fast() -> bool:
    """Whether this processor multiplies bfloat16 in hardware (AVX512-BF16 or AMX)."""
    checks = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
    return any(bool(getattr(torch.cpu, name, lambda: False)()) for name in checks)


@contextmanager
def precision(name: str) -> Iterator[None]:
    """Run forward passes in ``fp32`` or, under autocast, ``bf16``."""
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=name == "bf16"):
        yield


def pretrained_encoder(directory: Path, attention: str = "sdpa") -> nn.Module:
    """Load an encoder from a local folder; safetensors only, and never from a network."""
    encoder = _auto.from_pretrained(
        directory, local_files_only=True, use_safetensors=True, trust_remote_code=False,
        attn_implementation=attention, dtype=torch.float32,
    )  # fmt: skip
    return _without_pooler(encoder)


def _without_pooler(encoder: Any) -> nn.Module:  # noqa: ANN401 - transformers' class
    if getattr(encoder, "pooler", None) is not None:
        encoder.pooler = None  # we pool ourselves; an unused pooler is dead weight in the file
    return cast("nn.Module", encoder)


def save(network: TextNetwork, directory: Path) -> None:
    """Write ``config.json`` and ``model.safetensors``."""
    config = cast("Any", network.encoder.config)
    config._name_or_path = ""  # noqa: SLF001 - it would leak the path of the machine that built this
    config.to_json_file(directory / "config.json", use_diff=False)
    save_file({name: value.contiguous() for name, value in network.state_dict().items()}, directory / WEIGHTS)


def load(directory: Path, meta: Mapping[str, Any], classes: int, attention: str = "sdpa") -> TextNetwork:
    """Load what ``save`` wrote, ready to predict (``eval`` mode)."""
    config = AutoConfig.from_pretrained(directory, local_files_only=True, trust_remote_code=False)
    encoder = _without_pooler(_auto.from_config(config, attn_implementation=attention))
    network = TextNetwork(encoder, classes, pooling=str(meta["pooling"]), normalise=bool(meta["normalise"]))
    network.load_state_dict(load_file(directory / WEIGHTS), assign=True)
    return network.eval()


def tensors(sequences: Sequence[Sequence[int]], pad: int) -> tuple[Tensor, Tensor]:
    """Return ``input_ids`` and ``attention_mask``, int64 (n, longest)."""
    longest = max(map(len, sequences))
    ids = np.full((len(sequences), longest), pad, dtype=np.int64)
    mask = np.zeros_like(ids)
    for at, sequence in enumerate(sequences):
        ids[at, : len(sequence)] = sequence
        mask[at, : len(sequence)] = 1
    return torch.from_numpy(ids), torch.from_numpy(mask)


def by_length(lengths: Sequence[int], tokens: int = _BATCH_TOKENS) -> list[NDArray[np.int64]]:
    """Return row numbers in batches of similar length, at most ``tokens`` padded tokens each, longest texts first."""
    order = np.argsort(-np.asarray(lengths, dtype=np.int64), kind="stable")
    batches: list[NDArray[np.int64]] = []
    start = 0
    while start < len(order):
        size = max(1, tokens // max(1, lengths[order[start]]))
        batches.append(order[start : start + size])
        start += size
    return batches


def run(
    network: TextNetwork, sequences: Sequence[Sequence[int]], pad: int, *, embed: bool = False, dtype: str = "fp32"
) -> NDArray[np.float64]:
    """Return probabilities (n, classes), or with ``embed`` the pooled vectors (n, hidden), in the order given."""
    width = network.head.in_features if embed else network.head.out_features
    found = np.empty((len(sequences), width), dtype=np.float64)
    with torch.inference_mode(), precision(dtype):
        for batch in by_length([len(sequence) for sequence in sequences]):
            ids, mask = tensors([sequences[at] for at in batch], pad)
            out = network.embed(ids, mask) if embed else torch.softmax(network(ids, mask).double(), dim=-1)
            found[batch] = out.double().numpy()
    return found


def classify(network: TextNetwork, vectors: NDArray[np.float64], dtype: str = "fp32") -> NDArray[np.float64]:
    """Return the probabilities (n, classes) of pooled vectors (n, hidden) that ``run`` returned with ``embed``."""
    with torch.inference_mode(), precision(dtype):
        logits = network.head(torch.from_numpy(vectors.astype(np.float32)))
        return torch.softmax(logits.double(), dim=-1).numpy()
