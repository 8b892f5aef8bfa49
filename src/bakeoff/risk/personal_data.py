"""Personal data in the rows, and whether any of it travels inside the artefact (vocabularies, prompts with examples)."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

from bakeoff.data import personal
from bakeoff.risk import _common as common
from bakeoff.risk.base import RiskContext
from bakeoff.schema.base import Words
from bakeoff.schema.measurement import Finding, Measurement
from bakeoff.schema.plugin import CheckTraits

_NAME = "personal_data"
_ROWS_TITLE = Words(zh="数据中的个人信息", en="Personal data in the rows")
_NUMBER = re.compile(
    r"^(?:tree_sizes|\w+_count|split_feature|left_child|right_child|cat_\w+|decision_type)=[-\d ]+$"
    r"|(?<![\d.])[-+]?\d+(?:[ ,]+[-+]?\d+){7,}(?![\d.])"
    r"|[-+]?\d+\.\d*(?:[eE][-+]?\d+)?|[-+]?\d+[eE][-+]?\d+|\b[0-9a-f]{32,}\b"
)
"""Counts and lists of numbers in a tree's dump, weights, thresholds and hashes: digits in a row may pass a checksum by chance."""
_INSIDE_TITLE = Words(zh="模型文件中的个人信息", en="Personal data inside the model's files")
_STANDARDS = (
    "NIST AI RMF MEASURE 2.10", "PIPL Art. 6", "PIPL Art. 51", "PIPL Art. 55", "生成式人工智能服务管理暂行办法 第七条",
    "OWASP ML Top 10 2023 ML03",
)  # fmt: skip
_LARGEST = 16 << 20
_SUFFIXES = frozenset({".json", ".txt", ".vocab"})
_SHORTEST = 12
"""Characters a training text must have before finding it verbatim in a file means anything."""


class PersonalData:
    """Two findings: what the profile counted in the rows, and what the files of the candidate hold."""

    traits = CheckTraits(version="2", label=_ROWS_TITLE, tasks=common.TASKS, standards=_STANDARDS)

    def run(self, context: RiskContext) -> Sequence[Finding]:
        """Judge rows and artefact."""
        return _rows(context), _inside(context)


def _rows(context: RiskContext) -> Finding:
    counted, policy = context.profile.personal_data, context.spec.risk.personal_data
    total = context.profile.rows_used
    numbers = tuple(
        Measurement(name=f"rows_with_{found.kind}", value=float(found.rows), n=total, unit="rows") for found in counted
    )
    if not counted:
        observed = Words(
            zh=f"{total} 行中没有检出身份证号、银行卡号、电话、邮箱或带称谓的人名。",
            en=f"No identity, card or phone number, e-mail address or titled name was found in {total} rows.",
        )
        return common.report(
            context, _NAME, _ROWS_TITLE, "ok", observed=observed, mitigation=_KEEP_LOOKING, residual=_MISSED, likelihood=0.05,
            impact=3, standards=_STANDARDS,
        )  # fmt: skip
    listed = Words(
        zh="、".join(f"{personal.said(found.kind).zh} {found.rows} 行" for found in counted),
        en=", ".join(f"{personal.said(found.kind).en} in {found.rows} rows" for found in counted),
    )
    guesses = all(found.kind not in personal.CERTAIN for found in counted)
    usual = ("warn", 0.3, 3) if guesses else ("warn", 0.5, 4)
    status, likelihood, impact = {
        "mask": ("ok", 0.1, 3),
        "report": usual,
        "forbid": usual if guesses else ("fail", 0.9, 5),
    }[policy]
    done = {
        "mask": Words(zh="训练前已替换为占位符。", en="They were replaced by placeholders before training."),
        "report": Words(
            zh="规格书只要求报告，数据按原样使用。",
            en="The specification asks for a report only; rows were used as they are.",
        ),
        "forbid": Words(
            zh="规格书禁止个人信息；凭称谓猜出的人名不足以拒绝文件。" if guesses else "规格书禁止使用这样的数据。",
            en="The specification forbids personal data; a guess at a name is not enough to refuse the file."
            if guesses
            else "The specification forbids such data.",
        ),
    }[policy]
    return common.report(
        context, _NAME, _ROWS_TITLE, status, likelihood=likelihood, impact=impact, measurements=numbers, standards=_STANDARDS,
        observed=Words(zh=f"{total} 行中检出：{listed.zh}。{done.zh}", en=f"Found in {total} rows: {listed.en}. {done.en}"),
        mitigation=_MASK, residual=_MISSED,
    )  # fmt: skip


def _inside(context: RiskContext) -> Finding:
    known = _known(context)
    paths = [
        path for path in sorted(context.directory.rglob("*"))
        if path.is_file() and path.suffix in _SUFFIXES and path.stat().st_size <= _LARGEST
    ]  # fmt: skip
    certain, verbatim = _looked_through(paths, known)
    files = len(paths)
    numbers = (
        Measurement(name="personal_data_in_files", value=float(sum(certain.values())), n=files, unit="findings"),
        Measurement(name="training_rows_in_files", value=float(len(verbatim)), n=len(known), unit="rows"),
    )
    status = "fail" if certain else "warn" if verbatim else "ok"
    likelihood, impact = {"fail": (0.9, 5), "warn": (0.4, 3), "ok": (0.05, 4)}[status]
    listed = Words(
        zh="、".join(f"{personal.said(kind).zh} {count} 处" for kind, count in certain.items()),
        en=", ".join(f"{personal.said(kind).en}: {count}" for kind, count in certain.items()),
    )
    observed = {
        "fail": Words(
            zh=f"模型文件里含有个人信息：{listed.zh}。", en=f"The model's files hold personal data ({listed.en})."
        ),
        "warn": Words(
            zh=f"模型文件里有 {len(verbatim)} 条训练文本原文（如提示词示例），其中未检出个人信息。",
            en=f"{len(verbatim)} training texts are in the model's files as they were written (examples in a prompt, say); no personal data in them.",
        ),
        "ok": Words(
            zh=f"检查了 {files} 个文本类文件：没有个人信息，也没有训练文本原文。",
            en=f"{files} readable files looked through: no personal data and no training text as it was written.",
        ),
    }[status]
    return common.report(
        context, _NAME, _INSIDE_TITLE, status, observed=observed, likelihood=likelihood, impact=impact, measurements=numbers,
        standards=_STANDARDS,
        mitigation=Words(
            zh="训练前脱敏（risk.personal_data: mask）；提示词示例改用人工编写或已脱敏的样例。",
            en="Mask before training (risk.personal_data: mask); write prompt examples by hand or take masked ones.",
        ),
        residual=Words(
            zh="权重中的隐性记忆看不见，由成员推断检查来衡量。",
            en="What weights remember implicitly cannot be seen here; the membership inference check measures it.",
        ),
    )  # fmt: skip


def _looked_through(paths: Iterable[Path], known: frozenset[str]) -> tuple[dict[str, int], set[str]]:
    """Return how much of each kind that cannot be a guess the files hold, and which of the known texts."""
    kinds: Counter[str] = Counter()
    verbatim: set[str] = set()
    for text in chain.from_iterable(map(_strings, paths)):
        matches = personal.find(_NUMBER.sub(" ", text)) if len(text) > 5 else ()
        kinds.update(match.kind for match in matches if match.kind in personal.CERTAIN)
        verbatim.update(known.intersection({text}, text.splitlines()))
    return dict(sorted(kinds.items())), verbatim


def _known(context: RiskContext) -> frozenset[str]:
    columns = common.texts_of(context)
    texts = (row.get(name) for row in context.train.rows for name in columns)
    return frozenset(" ".join(text.split()) for text in texts if isinstance(text, str) and len(text) >= _SHORTEST)


def _strings(path: Path) -> Iterator[str]:
    """Yield every string in a JSON file (keys too), or the lines of another text file."""
    text = path.read_text(encoding="utf-8", errors="replace")
    if path.suffix != ".json":
        yield from text.splitlines()
        return
    try:
        waiting: list[Any] = [json.loads(text)]
    except ValueError:
        yield from text.splitlines()
        return
    while waiting:
        value = waiting.pop()
        if isinstance(value, str):
            yield value
        elif isinstance(value, dict):
            yield from value
            waiting.extend(value.values())
        elif isinstance(value, list):
            waiting.extend(value)


_MASK = Words(
    zh="设置 risk.personal_data: mask 在训练前脱敏；只保留任务必需的列；限定保存期限与访问权限；敏感信息须有单独同意。",
    en="Set risk.personal_data: mask to take it out before training; keep only columns the task needs; limit retention and access; "
    "sensitive kinds need separate consent.",
)
_KEEP_LOOKING = Words(zh="新数据入库前做同样的检查。", en="Check new data the same way before they are used.")
_MISSED = Words(
    zh="检测只覆盖有固定形式的信息；昵称、住址、病情等自由表述可能漏检。",
    en="Only forms with a pattern are found; nicknames, addresses, illnesses told in free words may be missed.",
)
PLUGIN = PersonalData()
