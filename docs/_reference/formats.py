"""What is written and told: exit codes, events, the study folder with its ledger, the bundle."""

from __future__ import annotations

from typing import get_args

from docs._reference.fields import record_table
from docs._reference.text import Tongue, first_line, page, table, tick
from pydantic import BaseModel

from bakeoff import commands
from bakeoff.delivery.report import PromiseVerdict, VerifyReport
from bakeoff.delivery.whole import WholeSeen
from bakeoff.evaluation.events import EventKind
from bakeoff.runtimes.signing import SignatureState
from bakeoff.schema import errors
from bakeoff.schema.artifact import Artifact, FileEntry, InputColumn, Rule
from bakeoff.schema.contract import Archive, Contract, Encryption, Manifest, Promise, Weights
from bakeoff.schema.trial import Environment, Failure, FailureCode, Fidelity, StepResult
from bakeoff.store import journal, ledger, study_lock
from bakeoff.study import PRICES

EVENTS: dict[EventKind, tuple[str, str]] = {
    "started": ("work on a trial begins", "开始一次试验"),
    "running": ("the step called `doing` begins in a process of its own", "名为 `doing` 的步骤在独立进程中开始"),
    "step": (
        "a step has its `result`; `reused` when it was in the ledger already",
        "一个步骤有了 `result`；若账本里早已有它，则 `reused` 为真",
    ),
    "finished": ("the trial is over; `failure` says why, if it failed", "试验结束；失败时 `failure` 说明原因"),
    "stopped": ("the time of the whole run is over; this trial was not run", "整个运行的时间已到；这次试验没有执行"),
}
FAILURES: dict[FailureCode, tuple[str, str]] = {
    "crash": ("the process died; the signal is named", "进程崩溃，写明信号"),
    "timeout": ("it went over `budget.step_time`", "超过 `budget.step_time`"),
    "memory": (
        "it went over `budget.step_memory`, or an allocation was refused",
        "超过 `budget.step_memory`，或内存分配被拒绝",
    ),
    "non_finite": ("NaN, infinity, or probabilities that do not add up to one", "出现 NaN、无穷，或概率之和不为一"),
    "error": ("the code raised an error; its last output is kept", "代码抛出错误；保留最后的输出"),
    "parity": (
        "exporting or compressing changed the answers by more than it may",
        "导出或压缩改变答案的程度超出允许范围",
    ),
    "unavailable": ("a library, weights, a key or an endpoint is missing", "缺少库、权重、密钥或接口"),
    "unsupported": ("the pieces do not fit together", "各部分无法组合"),
    "interrupted": ("the run was stopped; the step is tried again", "运行被中断；该步骤会重试"),
    "unsafe": ("it tried something that is not allowed, such as the network", "尝试了不允许的行为，例如访问网络"),
    "disk": ("there was no room to write; the step is tried again", "磁盘写不下；该步骤会重试"),
}


def exit_codes_page(tongue: Tongue) -> str:
    """Return the page of exit codes and of the error tree."""
    codes = [
        (commands.OK, tongue.say("decided, or done", "已决策，或已完成")),
        (
            errors.BakeoffError.exit_code,
            tongue.say("a fault of ours: please report it with the message", "程序自身的错误：请附上信息报告"),
        ),
        (
            errors.UserError.exit_code,
            tongue.say(
                "something you can mend: the message says what, where, what was found, what is allowed, and what to try",
                "使用者可以改正的问题：信息里写明是什么、在哪里、读到什么、允许什么、可以怎么办",
            ),
        ),
        (
            commands.INFEASIBLE,
            tongue.say(
                "no candidate meets the requirements (`run`, `decide`), or a bundle does not keep its contract (`verify`, `load --gate`), "
                "or not one row of a file was answered (`predict`)",
                "没有候选满足要求（`run`、`decide`），或交付包没有兑现契约（`verify`、`load --gate`），或文件中一行都没有得到回答（`predict`）",
            ),
        ),
        (
            commands.UNTOLD,
            tongue.say(
                "whether the contract is kept cannot be told from this run (`load --gate`, `verify --strict`): try again",
                "从这次运行无法判定是否兑现契约（`load --gate`、`verify --strict`）：请重试",
            ),
        ),
        (130, tongue.say("stopped with Ctrl-C; what was measured is kept", "用 Ctrl-C 停止；已测得的都保留")),
    ]
    rows = [[tick(name), str(kind.exit_code), tongue.code(first_line(kind))] for name, kind in _errors()]
    return page(
        tongue,
        tongue.say("Exit codes and errors", "退出码与错误"),
        table(
            [tongue.say("code", "退出码"), tongue.say("meaning", "含义")], [[str(code), text] for code, text in codes]
        ),
        tongue.say(
            'With `--json` an error is one document too: `{"error": "…", "exit_code": 2}`. A mistake of the user never shows a traceback.',
            '加上 `--json` 时，错误也是一个文档：`{"error": "…", "exit_code": 2}`。使用者的错误从不显示调用栈。',
        ),
        tongue.say("## Errors in Python", "## Python 里的错误"),
        tongue.say(
            "All in `bakeoff.schema`; every one is a `BakeoffError`.",
            "全部在 `bakeoff.schema` 中，都是 `BakeoffError` 的子类。",
        ),
        table(
            [tongue.say("class", "类"), tongue.say("exit code", "退出码"), tongue.say("raised when", "何时抛出")], rows
        ),
    )


def _errors() -> list[tuple[str, type[errors.BakeoffError]]]:
    found = {
        name: item
        for name, item in vars(errors).items()
        if isinstance(item, type) and issubclass(item, errors.BakeoffError)
    }
    return list(found.items())


def events_page(tongue: Tongue) -> str:
    """Return the page of what a run tells."""
    kinds = [[tick(kind), tongue.say(*EVENTS[kind])] for kind in get_args(EventKind)]
    fields = [
        ("kind", tongue.say("one of the kinds above", "上表之一")),
        (
            "trial",
            tongue.say(
                "the trial concerned: candidate, purpose (`probe`, `rung`, `final`, `risk`), fidelity",
                "相关试验：候选、用途（`probe`、`rung`、`final`、`risk`）、保真度",
            ),
        ),
        ("number, total", tongue.say("its place in what was asked for, from 1", "它在本批中的序号，从 1 开始")),
        ("doing", tongue.say("name of the step that begins", "开始的步骤名")),
        (
            "result",
            tongue.say(
                "the step's row, see [the ledger](ledger.md#stepresult)",
                "该步骤的一行，见[账本](ledger.zh.md#stepresult)",
            ),
        ),
        (
            "failure",
            tongue.say(
                "why the trial ended, see [the ledger](ledger.md#failure)",
                "试验为何结束，见[账本](ledger.zh.md#failure)",
            ),
        ),
        ("reused", tongue.say("the result was there already; nothing was run", "结果早已存在，没有重新执行")),
    ]
    return page(
        tongue,
        tongue.say("Events", "事件"),
        tongue.say(
            "`Study.run(on_event=…)` calls your function with one `Event` after another; calls come from one thread at a time. "
            "The command line draws its live view from the same events: a table on "
            "a terminal, one line per finished trial elsewhere, always on stderr.",
            "`Study.run(on_event=…)` 会逐个把 `Event` 交给您的函数，同一时刻只有一个线程调用。"
            "命令行的实时视图也由这些事件绘制：终端上是一张表，其他场合每完成一次试验输出一行，总是写到标准错误。",
        ),
        table([tongue.say("kind", "种类"), tongue.say("when", "何时")], kinds),
        tongue.say("## Fields", "## 字段"),
        table(
            [tongue.say("field", "字段"), tongue.say("meaning", "含义")], [[tick(name), text] for name, text in fields]
        ),
    )


def ledger_page(tongue: Tongue) -> str:
    """Return the page of the study folder and the ledger."""
    tongue.here = {model.__name__ for model in (StepResult, Fidelity, Failure, Environment)}
    folder = [
        (ledger.JOURNAL, tongue.say("the append-only journal: what counts", "只追加的日志：以它为准")),
        (
            ledger.SQLITE,
            tongue.say(
                "the same records in SQLite, to be queried; rebuilt from the journal when it differs",
                "SQLite 里的同一批记录，供查询；与日志不一致时重建",
            ),
        ),
        (
            ledger.QUARANTINE,
            tongue.say("bytes of a torn tail, set aside; usually absent", "被切下的残缺尾部；通常不存在"),
        ),
        (
            ledger.RUNNING + "/",
            tongue.say(
                "marks of steps being worked on; a mark dies with its process", "正在执行的步骤的标记；随进程消失"
            ),
        ),
        (
            study_lock.NAME,
            tongue.say("locked while a run lives, so that two runs cannot mix", "运行期间上锁，两次运行不会混在一起"),
        ),
        ("data/", tongue.say("the frozen data: rows used, splits, profile", "冻结的数据：使用的行、划分、画像")),
        (
            PRICES,
            tongue.say("copy of the price book, if the specification names one", "价目表的副本，规格书指明时才有"),
        ),
        ("work/", tongue.say("working files of a run; empty afterwards", "运行时的工作文件；之后为空")),
        ("artifacts/", tongue.say("what was built, by content key", "构建的产物，按内容键存放")),
        (
            "decision.json",
            tongue.say("the decision, see [its fields](decision.md)", "决策文档，见[字段说明](decision.zh.md)"),
        ),
        ("report.html", tongue.say("the report for a browser, one file", "浏览器里看的报告，单个文件")),
        ("report.md", tongue.say("the same as a decision record in Markdown", "Markdown 形式的决策记录")),
    ]
    documents = [
        ("spec", tongue.say("the specification the study was last run with", "最近一次运行所用的规格书")),
        ("profile", tongue.say("what the data says", "数据画像")),
        (
            "candidates, unavailable",
            tongue.say("who could take part, and who could not and why", "谁可以参加；谁不能，以及原因"),
        ),
        ("eliminations, finalists, stop_rule", tongue.say("what the search concluded", "搜索得出的结论")),
    ]
    arrays = [
        ("predict", "`indices` int32 · `predicted` int16 · `actual` int16 · `probabilities` float32 (n, k)"),
        ("time", "`latency` float64 [s] · `cpu` float64 [s] · `intended`, `sent` float64 [s]"),
    ]
    failures = [[tick(code), tongue.say(*FAILURES[code])] for code in get_args(FailureCode)]
    name, meaning = tongue.say("name", "名称"), tongue.say("meaning", "含义")
    return page(
        tongue,
        tongue.say("The study folder and its ledger", "研究目录与账本"),
        tongue.say(
            "Nothing in the folder names its place: move it, copy it, keep it under another name.",
            "目录里没有任何内容依赖它的位置：可以移动、复制、改名。",
        ),
        table([name, meaning], [[tick(key), text] for key, text in folder]),
        tongue.say("## The journal", "## 日志"),
        _journal(tongue),
        tongue.say("## Querying with SQLite", "## 用 SQLite 查询"),
        tongue.say(
            "The view `steps` has one line per step: `number`, `key`, `candidate`, `name`, "
            "`purpose`, `status`, `reason`, `wall_seconds`, `measurements` (JSON), `created`.",
            "视图 `steps` 每个步骤一行：`number`、`key`、`candidate`、`name`、`purpose`、"
            "`status`、`reason`、`wall_seconds`、`measurements`（JSON）、`created`。",
        ),
        '```sh\nsqlite3 -readonly build/demo/study/ledger.sqlite \\\n  "SELECT candidate, '
        "name, round(wall_seconds, 2) FROM steps WHERE status = 'failed'\"\n```",
        tongue.say("## Named documents", "## 命名文档"),
        tongue.say("The newest version counts, older ones stay.", "以最新版本为准，旧版本保留。"),
        table([name, meaning], [[tick(key), text] for key, text in documents]),
        f"## StepResult\n\n{tongue.code(first_line(StepResult))}\n\n{record_table(StepResult, tongue)}",
        tongue.say(
            "Arrays beside a row (NumPy's npz, never pickled):", "行旁边的数组（NumPy 的 npz，从不使用 pickle）："
        ),
        table([tongue.say("step", "步骤"), tongue.say("arrays", "数组")], [[tick(key), text] for key, text in arrays]),
        f"## Fidelity\n\n{tongue.code(first_line(Fidelity))}\n\n{record_table(Fidelity, tongue)}",
        f"## Failure\n\n{tongue.code(first_line(Failure))}\n\n{record_table(Failure, tongue)}",
        table([tongue.say("code", "代码"), meaning], failures),
        f"## Environment\n\n{tongue.code(first_line(Environment))}\n\n{record_table(Environment, tongue)}",
    )


def _journal(tongue: Tongue) -> str:
    return tongue.say(
        f"Format version {journal.VERSION}. One header line `bakeoff-journal VERSION CHECKSUM`, then records one after the other:\n\n"
        "| part | bytes | content |\n|---|---|---|\n"
        f"| marker | 8 | `{journal.MARK.hex(' ')}`: bytes that UTF-8 text cannot hold, so that damage in one record does not hide the next |\n"
        "| number | 8 | order of appending, little-endian |\n| lengths | 4 + 4 + 8 | of the three sections |\n"
        "| digest | 16 | BLAKE2b over number, lengths and sections |\n| head | … | JSON: type (`step`, `document`, `environment`), key or name |\n"
        "| text | … | JSON: the record |\n| blob | … | arrays as npz |\n\n"
        "A record is written, flushed to the disk and mirrored in SQLite before `append` returns. Opening reads the journal, cuts a torn "
        "tail, takes back from SQLite what the journal lost, and sets aside what neither has intact: such a step is measured again.",
        f"格式版本 {journal.VERSION}。先是一行文件头 `bakeoff-journal 版本 校验和`，然后是一条接一条的记录：\n\n"
        "| 部分 | 字节 | 内容 |\n|---|---|---|\n"
        f"| 标记 | 8 | `{journal.MARK.hex(' ')}`：UTF-8 文本里不会出现的字节，一条记录损坏不会掩盖下一条 |\n"
        "| 编号 | 8 | 追加的次序，小端 |\n| 长度 | 4 + 4 + 8 | 三段各自的长度 |\n"
        "| 摘要 | 16 | 对编号、长度与各段计算的 BLAKE2b |\n| head | … | JSON：类型（`step`、`document`、`environment`）、键或名称 |\n"
        "| text | … | JSON：记录本身 |\n| blob | … | npz 数组 |\n\n"
        "一条记录写入、落盘并镜像到 SQLite 之后，`append` 才返回。打开时读取日志、切掉残缺的尾部、从 SQLite 找回日志丢失的记录；"
        "两边都不完整的记录被隔离，对应步骤会重新测量。",
    )


BUNDLE: tuple[tuple[str, str, str], ...] = (
    (
        "manifest.json",
        "every file with size and SHA-256, candidate, classes, input columns, versions, provenance",
        "每个文件的大小与 SHA-256、候选、类别、输入列、版本、来源",
    ),
    (
        "manifest.sha256",
        "hash of the manifest, as `sha256sum --check` reads it; finds accidents",
        "清单的哈希，可用 `sha256sum --check` 核对；用来发现意外损坏",
    ),
    (
        "manifest.sig",
        "with `--sign`: an Ed25519 signature of the manifest's exact bytes, a DSSE envelope around an in-toto statement",
        "使用 `--sign` 时：对清单原始字节的 Ed25519 签名，DSSE 信封内是 in-toto 声明",
    ),
    (
        "sbom.cdx.json",
        "software bill of materials, CycloneDX 1.6: every pinned distribution, the model with its files and metrics, the data as a hash",
        "软件物料清单，CycloneDX 1.6：每个锁定的软件包、模型及其文件与指标、数据的哈希",
    ),
    ("contract.json", "the promises: every hard limit with what the trial measured", "承诺：每条硬性限制及试验实测值"),
    ("decision.json", "the whole decision", "完整的决策文档"),
    ("report.html", "the report", "报告"),
    (
        "whole.onnx",
        "with `--whole`: the model in one file with what comes before and after it, to be run without Bakeoff",
        "使用 `--whole` 时：模型连同前后处理在一个文件里，不用 Bakeoff 也能运行",
    ),
    (
        "contract-rows.jsonl.gz",
        "confirm rows with the true label and the trial's answer; masked where the study masked; absent with `--no-rows`",
        "确认集的行、真实标签与试验的回答；研究里遮盖过的这里也遮盖；使用 `--no-rows` 时没有",
    ),
    (
        "model/",
        "`artifact.json` and the files it lists: JSON, npz, safetensors, ONNX, OpenVINO IR, LiteRT, GGUF, LightGBM text, XGBoost; no pickle",
        "`artifact.json` 与它列出的文件：JSON、npz、safetensors、ONNX、OpenVINO IR、LiteRT、GGUF、LightGBM 文本、XGBoost；没有 pickle",
    ),
    (
        "requirements.txt",
        "what serving needs, pinned to the versions that were measured",
        "服务所需的软件包，锁定为测量时的版本",
    ),
    ("wheels/", "Bakeoff itself, so that nothing unpublished is needed", "Bakeoff 本身，不依赖任何未发布的东西"),
    (
        "requirements.lock",
        "every distribution of the image, transitive ones too, with the SHA-256 of its wheels; absent where one is not known",
        "镜像里的每个发行包（含间接依赖）及其 wheel 的 SHA-256；有未知哈希时不写",
    ),
    (
        "Dockerfile",
        "a slim image in two stages: pinned by hash, not root, read-only, with a health check",
        "两阶段的精简镜像：按哈希固定、非 root、只读、带健康检查",
    ),
    (".dockerignore", "keeps keys that lie beside the bundle out of the image", "不让放在旁边的密钥进入镜像"),
    (
        "kubernetes/",
        "Kustomize: base, production, canary and shadow with the contract as the gate; KServe, Argo Rollouts",
        "Kustomize：基础、生产、金丝雀与影子（契约为关卡）；KServe、Argo Rollouts",
    ),
    ("README.md", "how to run and verify it, in Chinese and English", "中英文的运行与校验说明"),
)
"""What a bundle holds; a test holds it against a real one."""


def bundle_page(tongue: Tongue) -> str:
    """Return the page of the bundle."""
    records: list[type[BaseModel]] = [
        Manifest,
        FileEntry,
        Weights,
        Archive,
        Encryption,
        InputColumn,
        Contract,
        Promise,
        Artifact,
        Rule,
        VerifyReport,
        SignatureState,
        PromiseVerdict,
        WholeSeen,
    ]
    tongue.here = {model.__name__ for model in records}
    return page(
        tongue,
        tongue.say("The bundle", "交付包"),
        tongue.say(
            "`bakeoff ship STUDY -o BUNDLE` writes one folder, all of it or nothing. The "
            "same study gives the same bytes, unless it is encrypted: salts and nonces are new each time. No file in it can run "
            "code when it is loaded. With `--encrypt` the files under `model/`, the contract rows, the decision and the report are "
            "encrypted and end in `.enc`; see [sign and encrypt](../how-to/sign-and-encrypt.md).",
            "`bakeoff ship STUDY -o BUNDLE` 写出一个目录，要么完整，要么什么都没有。同一项研究写出的字节相同，加密时除外：盐与随机数每次都是新的。"
            "加载其中任何文件都不会执行代码。使用 `--encrypt` 时，`model/` 下的文件、契约行、决策与报告会被加密，文件名以 `.enc` 结尾；"
            "见[签名与加密](../how-to/sign-and-encrypt.zh.md)。",
        ),
        table(
            [tongue.say("file", "文件"), tongue.say("content", "内容")],
            [[tick(name), tongue.say(en, zh)] for name, en, zh in BUNDLE],
        ),
        *[
            f"## {model.__name__}\n\n{tongue.code(first_line(model))}\n\n{record_table(model, tongue)}"
            for model in records
        ],
    )
