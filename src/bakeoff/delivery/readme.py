"""The README of a bundle, Chinese then English: what it is, what it promises, how to run and to check it."""

from __future__ import annotations

from bakeoff.delivery.promises import said
from bakeoff.schema.base import Words
from bakeoff.schema.contract import Contract, Manifest, Promise
from bakeoff.schema.units import say_bytes, say_seconds

_SIGN = {"min": "≥", "max": "≤"}
_NO_PROMISE = Words(zh="规格书没有设定硬性限制。", en="The specification sets no hard limit.")
_NOT_MEASURED = Words(zh="未测", en="not measured")


def readme(manifest: Manifest, contract: Contract, image: str) -> str:
    """Return README.md; ``image`` is the name and tag of the container image."""
    return _chinese(manifest, contract, image) + "\n---\n\n" + _english(manifest, contract, image)


def amount(value: float | None, unit: str) -> str:
    """Write a number in its unit: seconds and bytes scaled, shares with three decimals."""
    if value is None:
        return "–"
    if unit == "s":
        return say_seconds(value)
    if unit == "B":
        return say_bytes(value)
    return f"{value:.4g} {unit}".strip()


def _table(contract: Contract, language: str, head: tuple[str, str, str]) -> str:
    if not contract.promises:
        return _NO_PROMISE.said(language)
    rows = "\n".join(_line(promise, language) for promise in contract.promises)
    return f"| {head[0]} | {head[1]} | {head[2]} |\n|---|---|---|\n{rows}"


def _line(promise: Promise, language: str) -> str:
    trial = promise.trial
    measured = amount(trial.value, promise.unit) if trial.value is not None else _NOT_MEASURED.said(language)
    if trial.low is not None and trial.high is not None:
        measured += f" [{amount(trial.low, promise.unit)}, {amount(trial.high, promise.unit)}]"
    limit = f"{_SIGN[promise.direction]} {amount(promise.limit, promise.unit)}"
    return f"| {said(promise).said(language)} | {limit} | {measured} (n = {trial.n}) |"


def _chinese(manifest: Manifest, contract: Contract, image: str) -> str:
    rows = f"{contract.rows} 行" if contract.rows else "未随包交付，无法在此复测质量"
    return f"""# {manifest.study}：{manifest.label.zh}

这是 Bakeoff 选定并交付的模型服务包。候选方案：`{manifest.candidate}`，任务：{manifest.task}，类别：{_listed(manifest.classes)}。
包内没有 pickle，也没有任何会被自动执行的代码；`manifest.json` 记录每个文件的 SHA-256。

## 契约

{_table(contract, "zh", ("承诺", "限值", "试验实测（置信区间）"))}

实测条件：{contract.threads} 个线程。契约行：{rows}。

## 运行

```sh
pip install -r requirements.txt && pip install --no-deps wheels/*.whl
python -m bakeoff.serving . --port 8000          # 默认只监听本机回环地址
curl -H 'Content-Type: application/json' -d '{{"rows": [{{…}}]}}' http://127.0.0.1:8000/v1/predict
```

说明页 `/docs`，指标 `/metrics`，就绪 `/readyz`，Open Inference Protocol `/v2/models/{manifest.study}/infer`。
容器：`docker build -t {image} . && docker run --rm -p 8000:8000 {image}`；集群：`kubectl apply -k kubernetes`。

## 校验

```sh
pip install wheels/*.whl
bakeoff verify .        # 先核对哈希，再逐行对照试验结果，然后在本机重测契约
```

## 须知

- 质量只在本项目自己的数据上得到证明；输入分布改变时契约不再成立。
- 延迟与内存取决于机器：换机器后请重新校验。服务本身不做身份验证，请放在网关之后。
- 权重许可：{", ".join(manifest.licences) or "本包自行训练，无外部权重"}。决策依据见 `decision.json`。
"""


def _english(manifest: Manifest, contract: Contract, image: str) -> str:
    rows = f"{contract.rows} rows" if contract.rows else "left out, so quality cannot be re-tested here"
    return f"""# {manifest.study}: {manifest.label.en}

The model service that Bakeoff chose and delivered. Candidate: `{manifest.candidate}`, task: {manifest.task}, classes: {_listed(manifest.classes)}.
There is no pickle in it, nor any code that runs by itself; `manifest.json` holds the SHA-256 of every file.

## Contract

{_table(contract, "en", ("promise", "limit", "measured in the trial (interval)"))}

Measured with {contract.threads} thread{"s" if contract.threads != 1 else ""}. Contract rows: {rows}.

## Run

```sh
pip install -r requirements.txt && pip install --no-deps wheels/*.whl
python -m bakeoff.serving . --port 8000          # loopback only unless told otherwise
curl -H 'Content-Type: application/json' -d '{{"rows": [{{…}}]}}' http://127.0.0.1:8000/v1/predict
```

A page for people at `/docs`, metrics at `/metrics`, readiness at `/readyz`, Open Inference Protocol at `/v2/models/{manifest.study}/infer`.
Container: `docker build -t {image} . && docker run --rm -p 8000:8000 {image}`; cluster: `kubectl apply -k kubernetes`.

## Verify

```sh
pip install wheels/*.whl
bakeoff verify .        # hashes first, then every row against the trial, then the contract measured on this machine
```

## Good to know

- Quality is proven on this project's own data only; when the input changes, the contract no longer holds.
- Latency and memory depend on the machine: verify again on another one. The server authenticates nobody; put it behind a gateway.
- Licences of the weights: {", ".join(manifest.licences) or "trained here, no outside weights"}. Why this one was chosen: `decision.json`.
"""


def _listed(classes: tuple[str, ...]) -> str:
    shown = ", ".join(f"`{label}`" for label in classes[:12])
    return shown if len(classes) <= 12 else f"{shown}, … ({len(classes)})"
