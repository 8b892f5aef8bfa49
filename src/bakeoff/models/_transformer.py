"""What the two families that stand on a pretrained transformer share: preparing the network, saving, exporting.

Light to import; PyTorch and transformers come with the first call.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bakeoff.data.transforms.text import TokenFeeder, feature_space
from bakeoff.models._vocabulary import can_be_cut, cut, kept
from bakeoff.models.base import BuildContext, ExportContext, Row
from bakeoff.schema.artifact import Artifact
from bakeoff.schema.base import Words, content_key
from bakeoff.schema.errors import StepError
from bakeoff.schema.plugin import Needs
from bakeoff.schema.space import Parameter

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from bakeoff.data.transforms.network import TextNetwork
    from bakeoff.store.features import FeatureStore

NEEDS = Needs(modules=("torch", "transformers", "tokenizers", "safetensors"), extra="torch")
EXPORT_NEEDS = Needs(modules=("onnx",), extra="onnx")
NO_LITERT = "no converter without TensorFlow follows the shapes a traced transformer computes while running"
OPSET = 17
_LONG = 512


def length_parameter(marks: tuple[int, ...] = ()) -> Parameter:
    """Return the number of tokens kept of each text; texts that are shorter take no longer, so time grows by half as much."""
    return Parameter(
        name="strategy.max_length", label=Words(zh="最大长度", en="tokens"), kind="int", low=16, high=256, log=True, absent=64,
        marks=marks, slows=("build_per_1000", "predict_per_1000"), slack=64.0,
    )  # fmt: skip


@dataclass
class Prepared:
    """A pretrained network with an untrained head, and the transform that feeds it."""

    network: TextNetwork
    transform: dict[str, Any]
    meta: dict[str, Any]
    tokens: TokenFeeder
    pad: int

    def encode(self, rows: Sequence[Row]) -> list[list[int]]:
        """Return token ids, truncated to ``max_length``."""
        return self.tokens.encode(rows)


def prepare(context: BuildContext, *, prefix: bool) -> Prepared:
    """Load the encoder, cut its vocabulary to the training rows, write ``tokenizer.json`` and make a head.

    Args:
        context: of the build; ``context.weights`` is a folder in the hub's form.
        prefix: put the encoder's own prefix (``query: ``) before every text.

    Raises:
        StepError: 'unavailable' without weights, 'unsupported' where the strategy asks for what cannot be done.

    """
    import torch

    from bakeoff.data.transforms import network as net

    source = _folder(context)
    net.set_threads(context.threads)
    encoder = net.pretrained_encoder(source)
    config: Any = encoder.config
    facts = _pooling(source, context.params)
    transform: dict[str, Any] = {
        "kind": "hf-tokenizer", "tokenizer": "tokenizer.json", "columns": [column.name for column in context.inputs],
        "separator": " ", "max_length": context.strategy.max_length, "pad_id": int(config.pad_token_id or 0),
        "special_tokens": True, "prefix": facts["prefix"] if prefix else "",
    }  # fmt: skip
    _refuse(context, config)
    transform["pad_id"] = _write_tokenizer(context, source, encoder, transform)
    torch.manual_seed(context.seed)
    network = net.TextNetwork(encoder, len(context.classes), pooling=facts["pooling"], normalise=facts["normalise"])
    meta = {
        "pooling": facts["pooling"], "normalise": facts["normalise"], "head": "linear",
        "encoder": context.variant.hub or context.variant.weights, "vocabulary": int(config.vocab_size),
    }  # fmt: skip
    if context.features is not None:
        meta["features"] = _encoder_key(source, facts)
    tokens = TokenFeeder(transform, context.out)
    return Prepared(network, transform, meta, tokens, int(transform["pad_id"]))


def _folder(context: BuildContext) -> Path:
    if context.weights is None:
        what = "the pretrained weights are not on this machine"
        raise StepError("unavailable", what, where=context.variant.name, got=context.variant.hub)
    if not (context.weights / "tokenizer.json").is_file():
        what = "the folder of the weights has no tokenizer.json (the fast tokenizer's file)"
        raise StepError(
            "unsupported", what, where=context.variant.name, try_="save it with AutoTokenizer.save_pretrained"
        )
    return context.weights


def _pooling(source: Path, params: Mapping[str, Any]) -> dict[str, Any]:
    """Pooling of the encoder: the variant's word counts first, then ``pooling.json``, then sentence-transformers' file."""
    facts = {"pooling": "mean", "normalise": False, "prefix": ""}
    ours, theirs = source / "pooling.json", source / "1_Pooling" / "config.json"
    if ours.is_file():
        read = json.loads(ours.read_text(encoding="utf-8"))
        facts |= {name: read[name] for name in facts if name in read}
    elif theirs.is_file():
        first = json.loads(theirs.read_text(encoding="utf-8")).get("pooling_mode_cls_token", False)
        facts["pooling"] = "first" if first else "mean"
    return facts | {name: params[name] for name in facts if name in params}


def _refuse(context: BuildContext, config: Any) -> None:  # noqa: ANN401 - transformers' config
    from bakeoff.training.torch_loop import refuse_unsupported

    positions = getattr(config, "max_position_embeddings", None)
    if positions is not None and config.model_type in {"roberta", "xlm-roberta"}:
        positions -= int(config.pad_token_id) + 1  # their positions start after the padding id
    refuse_unsupported(context.strategy, positions)


def _write_tokenizer(context: BuildContext, source: Path, encoder: Any, transform: dict[str, Any]) -> int:  # noqa: ANN401
    """Write ``tokenizer.json`` (cut where that pays), shrink the word table with it, and return the id of padding."""
    import torch

    tokenizer = json.loads((source / "tokenizer.json").read_text(encoding="utf-8"))
    target = context.out / "tokenizer.json"
    pad = int(transform["pad_id"])
    if not (context.params.get("cut_vocabulary", True) and can_be_cut(tokenizer)):
        shutil.copyfile(source / "tokenizer.json", target)
        return pad
    whole = TokenFeeder({**transform, "max_length": _LONG}, source)
    used = {token for row in whole.encode(context.train.rows) for token in row}
    ids = kept(tokenizer, used | {pad})
    target.write_text(json.dumps(cut(tokenizer, ids), ensure_ascii=False, separators=(",", ":")), encoding="utf-8")
    table = encoder.get_input_embeddings().weight.detach()[torch.tensor(ids)].clone()
    pad = ids.index(pad)
    words = torch.nn.Embedding(len(ids), table.shape[1], padding_idx=pad, _weight=table)
    encoder.set_input_embeddings(words)
    encoder.config.vocab_size, encoder.config.pad_token_id = len(ids), pad
    return pad


def write(context: BuildContext, prepared: Prepared, **meta: Any) -> Artifact:  # noqa: ANN401
    """Save the network and return its ``transformer`` artefact."""
    from bakeoff.data.transforms import network as net

    net.save(prepared.network, context.out)
    return Artifact(
        format="transformer", task=context.task, classes=context.classes, inputs=context.inputs,
        transform=prepared.transform, meta={**prepared.meta, **meta},
        licences=(context.variant.licence,) if context.variant.licence else (),
    )  # fmt: skip


def export_onnx(context: ExportContext) -> Artifact:
    """Write one graph, token ids in and probabilities out, as ``model.onnx`` beside ``tokenizer.json``.

    The exporter that traces is used, not the newer one: its graphs can be quantised dynamically (with the newer one's,
    ONNX Runtime's shape inference fails).
    """
    import torch

    from bakeoff.data.transforms import network as net

    artifact = context.artifact
    net.set_threads(context.threads)
    network = net.load(context.source, artifact.meta, len(artifact.classes), attention="eager")
    whole = net.WithProbabilities(network).eval()  # of the wrapper: the exporter restores *its* mode
    ids = torch.tensor([[5, 6, 7, 8, 9, 10], [5, 6, 7, 8, 9, int(artifact.transform["pad_id"])]])
    mask = torch.tensor([[1, 1, 1, 1, 1, 1], [1, 1, 1, 1, 1, 0]])
    axes = {0: "batch", 1: "sequence"}
    with warnings.catch_warnings(), torch.inference_mode():
        warnings.simplefilter("ignore")  # tracing warns about every shape it fixes; the parity gate checks the outcome
        torch.onnx.export(
            whole, (ids, mask), str(context.out / "model.onnx"), dynamo=False, opset_version=OPSET,
            input_names=["input_ids", "attention_mask"], output_names=["probabilities"],
            dynamic_axes={"input_ids": axes, "attention_mask": axes, "probabilities": {0: "batch"}},
        )  # fmt: skip
    shutil.copyfile(context.source / "tokenizer.json", context.out / "tokenizer.json")
    meta = {**artifact.meta, "opset": OPSET}
    return artifact.model_copy(update={"format": "onnx", "meta": meta, "files": ()})


def embed(
    prepared: Prepared, rows: Sequence[Row], features: FeatureStore | None = None
) -> tuple[NDArray[np.float64], str]:
    """Return one vector per row (n, hidden), each distinct text computed once, and the precision it was computed in.

    Args:
        prepared: with the encoder as it was pretrained.
        rows: of the data.
        features: vectors that were computed before; what is missing is added.

    """
    import numpy as np

    from bakeoff.data.transforms import network as net

    dtype = "bf16" if net.bfloat16_is_fast() else "fp32"
    encoded = [tuple(ids) for ids in prepared.encode(rows)]
    distinct = list(dict.fromkeys(encoded))
    at = {ids: number for number, ids in enumerate(distinct)}

    def compute(places: Sequence[int]) -> NDArray[np.float64]:
        wanted = [distinct[place] for place in places]
        return net.run(prepared.network.eval(), wanted, prepared.pad, embed=True, dtype=dtype)

    if features is None:
        vectors = compute(range(len(distinct)))
    else:
        space = feature_space(str(prepared.meta["features"]), dtype)
        vectors = features.vectors(space, prepared.tokens.spelled(distinct), compute).vectors
    return vectors[np.array([at[ids] for ids in encoded])], dtype


def _encoder_key(source: Path, facts: Mapping[str, Any]) -> str:
    """Return what stands for an encoder's content and pooling: its asset's key, or the hash of its files."""
    card = source / "asset.json"
    if card.is_file():
        content = json.loads(card.read_text(encoding="utf-8"))["key"]
    else:
        files = sorted(path for path in source.glob("*") if path.suffix in {".safetensors", ".json"})
        content = [_digest(path) for path in files]
    return content_key("features", content, facts["pooling"], facts["normalise"])


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
