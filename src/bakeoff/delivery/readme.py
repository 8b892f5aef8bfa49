"""The README of a bundle, Chinese then English: what it is, what it promises, how to run and to check it."""

from __future__ import annotations

from collections.abc import Sequence

from bakeoff.delivery.promises import said
from bakeoff.schema.base import Words
from bakeoff.schema.contract import Contract, Manifest, Promise
from bakeoff.schema.units import say_bytes, say_seconds

_SIGN = {"min": "≥", "max": "≤"}
_NO_PROMISE = Words(zh="规格书没有设定硬性限制。", en="The specification sets no hard limit.")
_ASKS = " --allow-endpoint URL"
_NOT_MEASURED = Words(zh="未测", en="not measured")


def readme(
    manifest: Manifest,
    contract: Contract,
    image: str,
    *,
    signed: bool = False,
    encrypted: bool = False,
    unknown: Sequence[str] = (),
    alone: str = "",
) -> str:
    """Return README.md.

    Args:
        manifest: of the bundle.
        contract: of the bundle.
        image: name and tag of the container image.
        signed: whether ``manifest.sig`` will lie beside the manifest.
        encrypted: whether the files that end in ``.enc`` need a key.
        unknown: distributions of the image of which no hash is known.
        alone: Python that runs ``whole.onnx``; empty where there is none.

    """
    flags = (" --key signer.pub" if signed else "") + (" --decrypt key" if encrypted else "")
    flags += _ASKS if not signed and "openai-prompt" in manifest.formats else ""
    chinese = _chinese(manifest, contract, image, flags, unknown, alone)
    return chinese + "\n---\n\n" + _english(manifest, contract, image, flags, unknown, alone)


def _alone(code: str) -> Words:
    """Show how the model is run without this package, where that is possible."""
    if not code:
        return Words(zh="", en="")
    libraries = f"`pip install onnxruntime{' onnxruntime-extensions' if 'extensions' in code else ''}`"
    block = f"```python\n{code}```\n"
    return Words(
        zh="## 不用 Bakeoff 运行\n\n"
        f"`whole.onnx` 把预处理、模型、校准和取标签放在同一个文件里：输入是人们书写的原始行，输出是校准后的概率和标签。{libraries}\n\n{block}\n",
        en="## Run without Bakeoff\n\n`whole.onnx` holds the model with what comes before and after it: rows as people write them go in, "
        f"calibrated probabilities and the label come out. {libraries}\n\n{block}\n",
    )


def _sealed(flags: str) -> Words:
    """Say how far the hashes carry, and what the flags are."""
    signed = Words(
        zh="`manifest.sig` 是对清单的 Ed25519 签名：公钥要从可信渠道取得，不要从包里取。",
        en="`manifest.sig` is an Ed25519 signature of the manifest: get the public key from whom you trust, not from the bundle.",
    )
    unsigned = Words(
        zh="本包未签名：哈希能发现损坏，但挡不住连清单一起改写的人。",
        en="This bundle is not signed: the hashes find damage, not someone who rewrites the manifest too.",
    )
    secret = Words(
        zh="以 `.enc` 结尾的文件已加密（AES-256-GCM），只在内存中解密；密钥也可放在环境变量 `BAKEOFF_BUNDLE_KEY`。",
        en="Files that end in `.enc` are encrypted (AES-256-GCM) and decrypted in memory only; "
        "the key may also be in the environment variable `BAKEOFF_BUNDLE_KEY`.",
    )
    asks = Words(
        zh="模型要访问的端点与密钥变量由写包的人选定：您认识这个地址（见 `model/artifact.json`），才填 URL。",
        en="\nWhoever wrote the bundle chose the endpoint its model asks, and the variable with the key: put URL (see `model/artifact.json`) "
        "only if you know the place.",
    )
    said = signed if "--key" in flags else unsigned
    said = Words(zh=said.zh + asks.zh, en=said.en + asks.en) if _ASKS in flags else said
    return Words(zh=said.zh + secret.zh, en=f"{said.en}\n{secret.en}") if "--decrypt" in flags else said


def _elsewhere(image: str, flags: str, unknown: Sequence[str]) -> Words:
    """Say how to run the bundle in a container and in a cluster, and how far the image is pinned."""
    name = image.partition(":")[0]
    keys = [
        "api-keys.json",
        *(["verify.pem"] if "--key" in flags else []),
        *(["bundle.key"] if "--decrypt" in flags else []),
    ]
    mounts = "".join(f' \\\n    -v "$PWD/../{key}:/run/secrets/bakeoff/{key}:ro"' for key in keys)
    mounts += " \\\n    -e BAKEOFF_ALLOW_ENDPOINT=URL" if _ASKS in flags else ""
    files = "".join(f" --from-file={key}" for key in keys)
    commands = f"""```sh
docker build -t {image} .
bakeoff keys add CLIENT --file ../api-keys.json     # {{}}
docker run --rm --read-only --tmpfs /tmp --cap-drop ALL -p 127.0.0.1:8000:8000{mounts} {image}

cp -r kubernetes .. && cd ..                        # {{}}
kubectl create secret generic {name}-keys{files}
kubectl apply -k kubernetes
```"""
    listed = ", ".join(unknown[:6]) + ("…" if len(unknown) > 6 else "")
    pinned = Words(
        zh=f"镜像只固定版本、未固定哈希：没有 {listed} 的已知哈希。",
        en=f"The image is pinned by version and not by hash: no hash is known of {listed}.",
    ) if unknown else Words(
        zh="镜像安装的每个发行包都按 SHA-256 固定在 `requirements.lock`。",
        en="Every distribution of the image is pinned by SHA-256 in `requirements.lock`.",
    )  # fmt: skip
    base = Words(
        zh="基础镜像**没有**固定，除非构建时用 `--build-arg BASE=镜像@sha256:摘要` 传入（`Dockerfile` 开头写明如何查到摘要）。",
        en="The base image is **not** pinned unless it is built with `--build-arg BASE=IMAGE@sha256:DIGEST` (the head of the `Dockerfile` says "
        "how to find the digest).",
    )
    chinese = commands.format("密钥只显示这一次；文件里只有哈希", "包里的文件改动后就不再通过校验")
    english = commands.format("shown this once; the file holds hashes only", "a changed file would break the seal")
    return Words(
        zh=f"容器与集群（密钥放在包外，容器内的用户 10001 须能读取）：\n\n{chinese}\n\n"
        f"{pinned.zh}{base.zh}`kubernetes/overlays/` 里还有生产路由、金丝雀与影子；契约就是放行的关卡。",
        en="Container and cluster (keys stay outside of the bundle; user 10001 of the container must be able to read them):\n\n"
        f"{english}\n\n{pinned.en}\n{base.en}\n"
        "`kubernetes/overlays/` holds a route for production, a canary and a shadow, with the contract as the gate.",
    )


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


def _chinese(manifest: Manifest, contract: Contract, image: str, flags: str, unknown: Sequence[str], alone: str) -> str:
    rows = f"{contract.rows} 行" if contract.rows else "未随包交付，无法在此复测质量"
    return f"""# {manifest.study}：{manifest.label.zh}

这是 Bakeoff 选定并交付的模型服务包。候选方案：`{manifest.candidate}`，任务：{manifest.task}，类别：{_listed(manifest.classes)}。
包内没有 pickle，也没有任何会被自动执行的代码；`manifest.json` 记录每个文件的 SHA-256。

## 契约

{_table(contract, "zh", ("承诺", "限值", "试验实测（置信区间）"))}

实测条件：{contract.threads} 个线程。契约行：{rows}。

## 校验

先校验，再从包里安装或运行任何东西：包里的 `wheels/` 与清单出自同一人之手，不能用来检查它自己。校验所用的 Bakeoff 要从您信任的来源安装。
签名与哈希核对完才轮到模型；缺少运行库时它会指名，这时再装 `requirements.txt`。

```sh
pip install 'bakeoff[deliver]=={manifest.bakeoff}'
bakeoff verify .{flags}        # 先核对签名与哈希，再逐行对照试验结果，然后在本机重测契约
```

{_sealed(flags).zh}软件物料清单（CycloneDX 1.6）在 `sbom.cdx.json`。

## 运行

```sh
pip install -r requirements.txt && pip install --no-deps wheels/*.whl
python -P -m bakeoff.serving .{_ASKS if _ASKS in flags else ""} --port 8000          # 默认只监听本机回环地址
curl -H 'Content-Type: application/json' -d '{{"rows": [{{…}}]}}' http://127.0.0.1:8000/v1/predict
```

说明页 `/docs`，指标 `/metrics`，就绪 `/readyz`，Open Inference Protocol `/v2/models/{manifest.study}/infer`。

{_elsewhere(image, flags, unknown).zh}

{_alone(alone).zh}## 须知

- 质量只在本项目自己的数据上得到证明；输入分布改变时契约不再成立。
- 延迟与内存取决于机器：换机器后请重新校验。不只监听本机时，客户端要出示 API 密钥（`bakeoff keys`）。
- 权重许可：{", ".join(manifest.licences) or "本包自行训练，无外部权重"}。决策依据见 `decision.json`。
"""


def _english(manifest: Manifest, contract: Contract, image: str, flags: str, unknown: Sequence[str], alone: str) -> str:
    rows = f"{contract.rows} rows" if contract.rows else "left out, so quality cannot be re-tested here"
    return f"""# {manifest.study}: {manifest.label.en}

The model service that Bakeoff chose and delivered. Candidate: `{manifest.candidate}`, task: {manifest.task}, classes: {_listed(manifest.classes)}.
There is no pickle in it, nor any code that runs by itself; `manifest.json` holds the SHA-256 of every file.

## Contract

{_table(contract, "en", ("promise", "limit", "measured in the trial (interval)"))}

Measured with {contract.threads} thread{"s" if contract.threads != 1 else ""}. Contract rows: {rows}.

## Verify

Check before you install anything out of the bundle: whoever wrote the manifest wrote `wheels/` too, so it cannot vouch for itself.
Take the Bakeoff that checks from a source you trust. Signature and hashes come first; where the model's library is missing, it then says
which, and that is the time for `requirements.txt`.

```sh
pip install 'bakeoff[deliver]=={manifest.bakeoff}'
bakeoff verify .{flags}        # signature and hashes, then every row against the trial, then the contract on this machine
```

{_sealed(flags).en}
The software bill of materials (CycloneDX 1.6) is `sbom.cdx.json`.

## Run

```sh
pip install -r requirements.txt && pip install --no-deps wheels/*.whl
python -P -m bakeoff.serving .{_ASKS if _ASKS in flags else ""} --port 8000          # loopback only unless told otherwise
curl -H 'Content-Type: application/json' -d '{{"rows": [{{…}}]}}' http://127.0.0.1:8000/v1/predict
```

A page for people at `/docs`, metrics at `/metrics`, readiness at `/readyz`, Open Inference Protocol at `/v2/models/{manifest.study}/infer`.

{_elsewhere(image, flags, unknown).en}

{_alone(alone).en}## Good to know

- Quality is proven on this project's own data only; when the input changes, the contract no longer holds.
- Latency and memory depend on the machine: verify again on another one. Off the loopback interface clients show an API key (`bakeoff keys`).
- Licences of the weights: {", ".join(manifest.licences) or "trained here, no outside weights"}. Why this one was chosen: `decision.json`.
"""


def _listed(classes: tuple[str, ...]) -> str:
    shown = ", ".join(f"`{label}`" for label in classes[:12])
    return shown if len(classes) <= 12 else f"{shown}, … ({len(classes)})"
