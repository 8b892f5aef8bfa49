"""A whole pretrained encoder in 100 kB: a real BertModel with random weights and a real tokenizer of single characters."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from bakeoff.models.base import BuildContext, Examples
from bakeoff.schema import InputColumn, Strategy, Variant, Words

GOOD, BAD = "好棒赞喜爱", "差烂坏厌恨"
OTHER = "房间书电池服务员屏幕早餐作者键盘的了很是在我你他"
CLASSES = ("负面", "正面")
INPUTS = (InputColumn(name="text", kind="text"),)


def tokenizer(kind: str = "WordPiece") -> dict[str, Any]:
    """A tokenizer.json of single characters (and for Unigram some pairs)."""
    special = ["<s>", "<pad>", "</s>", "<unk>"]
    characters = sorted(set(GOOD + BAD + OTHER + "abcdefghijklmnopqrstuvwxyz▁:"))
    added = [
        {"id": at, "content": name, "lstrip": False, "single_word": False, "rstrip": False, "normalized": False, "special": True}
        for at, name in enumerate(special)
    ]  # fmt: skip
    frame = {
        "type": "TemplateProcessing",
        "single": [
            {"SpecialToken": {"id": "<s>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}, {"SpecialToken": {"id": "</s>", "type_id": 0}},
        ],
        "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 0}}],
        "special_tokens": {"<s>": {"id": "<s>", "ids": [0], "tokens": ["<s>"]}, "</s>": {"id": "</s>", "ids": [2], "tokens": ["</s>"]}},
    }  # fmt: skip
    if kind == "Unigram":
        pieces = [*special, *characters, "房间", "电池", "服务员", "abc", "xyz"]
        model: dict[str, Any] = {"type": "Unigram", "unk_id": 3, "byte_fallback": False}
        model["vocab"] = [[piece, 0.0 if at < 4 else -float(10 - len(piece))] for at, piece in enumerate(pieces)]
    else:
        vocab = {piece: at for at, piece in enumerate([*special, *characters])}
        model = {"type": "WordLevel", "vocab": vocab, "unk_token": "<unk>"}
    split = {"type": "Split", "pattern": {"Regex": ""}, "behavior": "Isolated", "invert": False}
    return {
        "version": "1.0", "truncation": None, "padding": None, "added_tokens": added, "normalizer": None,
        "pre_tokenizer": None if kind == "Unigram" else split, "post_processor": frame, "decoder": None, "model": model,
    }  # fmt: skip


def write_encoder(folder: Path, *, kind: str = "WordPiece", positions: int = 64) -> Path:
    """Write config.json, model.safetensors, tokenizer.json and pooling.json of a two-layer encoder, 32 wide."""
    import torch
    from transformers import BertConfig, BertModel

    folder.mkdir(parents=True, exist_ok=True)
    described = tokenizer(kind)
    (folder / "tokenizer.json").write_text(json.dumps(described), encoding="utf-8")
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=len(described["model"]["vocab"]), hidden_size=32, num_hidden_layers=2, num_attention_heads=2,
        intermediate_size=64, max_position_embeddings=positions, pad_token_id=1, initializer_range=0.2,
    )  # fmt: skip
    BertModel(config, add_pooling_layer=False).save_pretrained(folder, safe_serialization=True)
    facts = {"pooling": "mean", "normalise": True, "prefix": "query: "}
    (folder / "pooling.json").write_text(json.dumps(facts), encoding="utf-8")
    return folder


def write_other(folder: Path, name: str) -> Path:
    """Write the folder of a small random network of another architecture, without ``pooling.json``, as hubs have them."""
    import transformers as hf

    folder.mkdir(parents=True)
    described = tokenizer()
    (folder / "tokenizer.json").write_text(json.dumps(described), encoding="utf-8")
    size = len(described["model"]["vocab"])
    plain: dict[str, Any] = {
        "vocab_size": size, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64,
        "max_position_embeddings": 66, "pad_token_id": 1,
    }  # fmt: skip
    tokens = {"bos_token_id": 0, "eos_token_id": 2, "cls_token_id": 0, "sep_token_id": 2}
    made = {
        "distilbert": lambda: hf.DistilBertModel(
            hf.DistilBertConfig(vocab_size=size, dim=32, hidden_dim=64, n_layers=2, n_heads=2, max_position_embeddings=66, pad_token_id=1)
        ),
        "xlm-roberta": lambda: hf.XLMRobertaModel(hf.XLMRobertaConfig(**plain)),
        "modernbert": lambda: hf.ModernBertModel(hf.ModernBertConfig(**plain, **tokens)),
        "qwen3": lambda: hf.Qwen3Model(hf.Qwen3Config(**plain, num_key_value_heads=1, head_dim=16)),
    }  # fmt: skip
    made[name]().save_pretrained(folder)
    return folder


def rows(count: int, seed: int = 0) -> Examples:
    """Texts whose class is told by the three characters of praise or blame in them."""
    rng = np.random.default_rng(seed)
    labels = np.arange(count) % 2
    found = []
    for label in labels:
        text = list(rng.choice(list(OTHER), size=int(rng.integers(2, 14))))
        for sign in rng.choice(list(GOOD if label else BAD), size=3):
            text.insert(int(rng.integers(0, len(text))), str(sign))
        found.append({"text": "".join(text)})
    return Examples(found, labels.astype(np.int64))


def context(folder: Path, out: Path, *, strategy: Strategy | None = None, **changes: Any) -> BuildContext:
    """A build of a variant called ``tiny`` on 120 rows."""
    out.mkdir(parents=True, exist_ok=True)
    params = changes.pop("params", {})
    variant = Variant(
        name="tiny", label=Words(zh="小", en="tiny"), weights="tiny", licence="MIT", params=params,
        strategy=strategy or Strategy(epochs=1, batch_size=8, learning_rate=1e-3, max_length=32),
    )  # fmt: skip
    given: dict[str, Any] = {
        "task": "text-classification", "classes": CLASSES, "inputs": INPUTS, "language": "zh", "train": rows(120, 1),
        "calibrate": rows(40, 2), "variant": variant, "seed": 5, "threads": 1, "out": out, "weights": folder,
    }  # fmt: skip
    return BuildContext(**{**given, **changes})
