"""The HTTP interface of a served bundle, read off the server's own OpenAPI document, limits and metrics."""

from __future__ import annotations

import dataclasses
import inspect
import json
import re
from typing import Any

from docs._reference.text import Tongue, page, table, tick

from bakeoff.schema.artifact import InputColumn
from bakeoff.schema.base import Words
from bakeoff.schema.contract import Manifest
from bakeoff.serving.limits import Limits
from bakeoff.serving.metrics import Metrics
from bakeoff.serving.openapi import document

NAME = "MODEL"


def sample() -> Manifest:
    """Return the manifest of an imagined text model: only its shape matters here."""
    return Manifest(
        bakeoff="0",
        study="reviews",
        candidate="linear.char.none.native",
        label=Words(zh="示例", en="example"),
        family="linear",
        runtime="native",
        task="text-classification",
        classes=("neg", "pos"),
        inputs=(InputColumn(name="text", kind="text"),),
        files=(),
        licences=(),
        packages={},
    )


def http_page(tongue: Tongue) -> str:
    """Return the page of the HTTP interface."""
    described = document(sample(), NAME, Limits())
    return page(
        tongue,
        tongue.say("The HTTP interface", "HTTP 接口"),
        tongue.say(
            "`bakeoff serve BUNDLE` (port 8080) and the bundle's image (port 8000, `python -P -m bakeoff.serving`) answer alike. A running "
            "server describes itself with its own columns and classes at `/docs` and `/openapi.json`. `MODEL` below is the study's name. "
            "Off the loopback interface clients show an [API key](../how-to/secure-serving.md). "
            "No row's content is written to any log unless `--log text` asks for it.",
            "`bakeoff serve BUNDLE`（端口 8080）与交付包的镜像（端口 8000，`python -P -m bakeoff.serving`）行为一致。"
            "运行中的服务在 `/docs` 与 `/openapi.json` 用自己的列与类别描述自己。下文的 `MODEL` 是研究的名称。"
            "不只监听本机回环地址时，客户端要出示 [API 密钥](../how-to/secure-serving.zh.md)。任何行的内容都不会写进日志，除非用 `--log text` 要求。",
        ),
        _routes(tongue, described["paths"]),
        _predict(tongue),
        _errors(tongue, described["paths"]["/v1/predict"]["post"]["responses"]),
        _limits(tongue),
        _metrics(tongue),
    )


def _routes(tongue: Tongue, paths: dict[str, Any]) -> str:
    rows = []
    for path, methods in paths.items():
        for method, what in methods.items():
            rows.append(
                [tick(f"{method.upper()} {path}"), _summary(tongue, what["summary"]), " · ".join(what["responses"])]
            )
    head = [tongue.say("route", "路由"), tongue.say("what it does", "作用"), tongue.say("statuses", "状态码")]
    return f"## {tongue.say('Routes', '路由')}\n\n{table(head, rows)}"


def _summary(tongue: Tongue, summary: str) -> str:
    """Split 'Liveness 存活' into its two languages; what has no Chinese stays as it is."""
    found = re.match(r"^(?P<en>[\x00-\x7f]+?)\s+(?P<zh>[^\x00-\x7f]+)$", summary)
    return tongue.say(found["en"], found["zh"]) if found else summary


def _predict(tongue: Tongue) -> str:
    ask = json.dumps({"row": {"text": "房间很干净"}}, ensure_ascii=False)
    answer = {"model": "linear.char.none.native", "label": "正面", "probabilities": {"正面": 0.93, "负面": 0.07}}
    forms = [
        ('`{"row": {…}}`', tongue.say("one row, one answer", "一行，一个回答")),
        (
            '`{"rows": [{…}, {…}]}`',
            tongue.say(
                "several rows; the answer holds `predictions` in the same order",
                "多行；回答里的 `predictions` 次序相同",
            ),
        ),
        (
            '`{"values": [[…], […]]}`',
            tongue.say(
                "several rows as arrays, one value per column in the manifest's order; the fastest form for models of numbers",
                "多行数组，每列一个值，次序同清单；纯数值模型最快的写法",
            ),
        ),
        (
            '`{"texts": ["…", "…"]}`',
            tongue.say("several texts, for models of one text column only", "多条文本，仅限只有一个文本列的模型"),
        ),
    ]
    return "\n\n".join(
        [
            f"## POST /v1/predict\n\n{table([tongue.say('body', '请求体'), tongue.say('meaning', '含义')], forms)}",
            tongue.say(
                "Absent columns, `null` and empty strings are missing values; a number beyond single precision (3.4e38) is refused. "
                "The shape of an answer:",
                "缺少的列、`null` 与空串都视为缺失；超出单精度（3.4e38）的数值被拒绝。回答的样子：",
            ),
            f"```sh\ncurl -H 'Content-Type: application/json' -d '{ask}' http://127.0.0.1:8080/v1/predict\n```",
            f"```json\n{json.dumps(answer, ensure_ascii=False)}\n```",
            tongue.say(
                "`POST /v2/models/MODEL/infer` takes the same columns as tensors of the Open Inference Protocol (BYTES for text and categories, "
                "any number type for numbers) and answers `label` (BYTES) and `probabilities` (FP32, n × k).",
                "`POST /v2/models/MODEL/infer` 按 Open Inference Protocol 以张量传入同样的列（文本与类别用 BYTES，数值用任意数值类型），"
                "返回 `label`（BYTES）与 `probabilities`（FP32，n × k）。",
            ),
        ]
    )


def _errors(tongue: Tongue, responses: dict[str, Any]) -> str:
    rows = [[status, tongue.code(what["description"])] for status, what in responses.items() if status != "200"]
    example = {"error": {"status": 422, "what": "unknown column", "where": "row.txt", "allowed": ["text"]}}
    return "\n\n".join(
        [
            f"## {tongue.say('Errors', '错误')}\n\n{table([tongue.say('status', '状态码'), tongue.say('meaning', '含义')], rows)}",
            tongue.say(
                "Says what, where and what is allowed, never the content of a row. Below `/v2` it is one sentence, as the protocol wants.",
                "写明是什么、在哪里、允许什么，从不包含行的内容。`/v2` 之下按协议要求是一句话。",
            ),
            f"```json\n{json.dumps(example)}\n```",
        ]
    )


def _limits(tongue: Tongue) -> str:
    meanings = _attributes(Limits)
    rows = [
        [tick("--" + field.name.replace("_", "-")), str(field.default), tongue.code(meanings[field.name])]
        for field in dataclasses.fields(Limits)
    ]
    head = [tongue.say("flag", "参数"), tongue.say("default", "默认值"), tongue.say("meaning", "含义")]
    note = tongue.say(
        "Flags of `python -P -m bakeoff.serving BUNDLE` (`--limit NAME=VALUE` of `bakeoff serve`), besides `--host`, `--port` and `--threads`.",
        "`python -P -m bakeoff.serving BUNDLE` 的参数（`bakeoff serve` 用 `--limit 名=值`；另有 `--host`、`--port`、`--threads`）。",
    )
    return f"## {tongue.say('Limits', '限额')}\n\n{note}\n\n{table(head, rows)}"


def _attributes(kind: type) -> dict[str, str]:
    """Return what the Attributes section of a docstring says of each field."""
    text = (inspect.getdoc(kind) or "").partition("Attributes:")[2]
    return {
        name: " ".join(said.split())
        for name, said in re.findall(r"^ {4}(\w+): ((?:.+)(?:\n {8}.+)*)", text, re.MULTILINE)
    }


def _metrics(tongue: Tongue) -> str:
    gauges = {
        "bakeoff_queue_rows": ("Rows that wait to be computed.", lambda: 0.0),
        "bakeoff_queue_seconds": (
            "Seconds that a row which comes now is expected to wait before it is computed.",
            lambda: 0.0,
        ),
        "bakeoff_batch_size": ("Rows computed together at most, as measured at start-up and under load.", lambda: 0.0),
        "bakeoff_worker_restarts": ("Compute processes replaced since the start.", lambda: 0.0),
        "bakeoff_inflight_requests": ("Requests not answered yet.", lambda: 0.0),
        "bakeoff_ready": ("1 when the server takes new requests and can compute.", lambda: 0.0),
    }
    metrics = Metrics("m", "c", "b", gauges)
    metrics.request("/v1/predict", 200)
    metrics.labels = lambda: {"pos": 1}
    suffix = {"counter": "_total", "info": "_info"}
    rows = [
        [
            tick(family.name + suffix.get(family.type, "")),
            family.type,
            ", ".join(map(tick, getattr(family, "_labelnames", ()))) or "–",
            tongue.code(family.documentation),
        ]
        for family in metrics.collect()
    ]
    head = [
        tongue.say("metric", "指标"),
        tongue.say("type", "类型"),
        tongue.say("labels", "标签"),
        tongue.say("meaning", "含义"),
    ]
    return f"## {tongue.say('Metrics', '监控指标')}\n\n{table(head, rows)}"
