"""A prompted language model, shipped and served for real: its chat route answers what its predict route answers."""

from __future__ import annotations

from pathlib import Path

import pytest

from bakeoff import assets
from bakeoff.models.base import BuildContext
from bakeoff.models.llm_prompt import PLUGIN
from bakeoff.schema.base import Words
from bakeoff.schema.candidate import Candidate, Variant
from tests.delivery import making
from tests.serving.running import running

pytestmark = [pytest.mark.assets, pytest.mark.slow]
TEXTS = ("great, I like it", "awful, it broke", "the phone is fine")


def test_openai_clients_get_the_prompted_models_label(tmp_path: Path) -> None:
    weights = assets.find("smollm2-135m-instruct")
    if weights is None:
        pytest.skip("asset smollm2-135m-instruct is not fetched")
    label = Words(zh="提示", en="prompted")
    variant = Variant(
        name="tiny",
        label=label,
        licence="Apache-2.0",
        params={"format": "gguf-prompt", "max_tokens": 40, "calibrate_rows": 6},
    )
    out = tmp_path / "artifact"
    out.mkdir()
    rows = making.reviews(12, 3)
    context = BuildContext(
        task="text-classification", classes=making.CLASSES, inputs=making.TEXT, language="en", train=rows, calibrate=rows,
        variant=variant, seed=0, threads=1, out=out, weights=weights,
    )  # fmt: skip
    making.finish(PLUGIN.build(context), out)
    chosen = Candidate(family="llm_prompt", variant=variant, runtime="llama_cpp", label=label)
    making.ship_(tmp_path, decision=making.decision(chosen, making.METRICS), candidate=chosen, artifact_dir=out)
    with running(tmp_path / "bundle", tmp_path) as server:
        predicted = server.client.post("/v1/predict", json={"texts": list(TEXTS)}).json()["predictions"]
        for text, one in zip(TEXTS, predicted, strict=True):
            ask = {
                "model": "reviews",
                "messages": [{"role": "user", "content": text}],
                "logprobs": True,
                "top_logprobs": 2,
            }
            answer = server.client.post("/v1/chat/completions", json=ask).json()["choices"][0]
            assert answer["message"]["content"] == one["label"]
            assert {entry["token"] for entry in answer["logprobs"]["content"][0]["top_logprobs"]} == set(making.CLASSES)
