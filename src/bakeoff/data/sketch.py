"""A first specification from a data file: what ``bakeoff init`` writes. It always loads, and its data always prepare."""

from __future__ import annotations

import json
import os
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from bakeoff.data.columns import ColumnFacts, inspect, is_dates, plain_labels
from bakeoff.data.freeze import prepare_table
from bakeoff.data.frozen import Frozen
from bakeoff.data.personal import CERTAIN
from bakeoff.data.read import Cells, Table, read_table
from bakeoff.schema.errors import DataError, UserError
from bakeoff.schema.loading import parse_spec

ANSWERS = ("name", "task", "target", "input", "metric", "floor", "positive", "group", "time")
"""What a person may answer beforehand; everything else is guessed from the file."""

_TARGET = re.compile(
    r"^(label|labels|target|class|category|y|sentiment|topic|intent|outcome|result|is_\w+|has_\w+|default|churn|fraud|spam|polarity|rating|stars|"
    r".*(标签|类别|分类|情感|结果|标注|意图|极性|是否|违约|流失).*)$", re.IGNORECASE,
)  # fmt: skip
_TARGET_PART = re.compile(r"label|target|class|outcome|sentiment|default|churn|fraud", re.IGNORECASE)
_GROUP = re.compile(
    r"^(user|customer|client|patient|member|author|speaker|device|session|household|account|subject|group|store|hotel|product|shop)[_ -]?"
    r"(id|no|name|key|code)?$|(用户|客户|患者|会员|作者|设备|账号|门店|商品|酒店|分组)", re.IGNORECASE,
)  # fmt: skip
_TIME = re.compile(r"date|time|created|updated|timestamp|日期|时间|年月", re.IGNORECASE)
_NOT_TIME = re.compile(r"birth|dob|生日|出生", re.IGNORECASE)
_PLAIN = re.compile(r"[A-Za-z_\u4e00-\u9fff][\w./-]*")
_WORDS_OF_YAML = frozenset({"yes", "no", "on", "off", "true", "false", "null", "y", "n", "nan"})
_WORDY = re.compile(r"[^\W\d_]")
_MOST_CLASSES, _SHOWN = 50, 6
_WIDTH = 34


@dataclass(frozen=True)
class _Guess:
    """What was guessed or answered; ``inputs`` empty means '*'."""

    name: str
    task: str
    target: str
    inputs: tuple[str, ...]
    group: str | None
    time: str | None


def write_spec(
    data_path: str | Path, answers: Mapping[str, str] | None = None, relative_to: str | Path | None = None
) -> str:
    """Profile a data file and return a commented specification for it, as YAML.

    Args:
        data_path: csv, tsv, jsonl or parquet.
        answers: what is known already, by the names in ``ANSWERS``.
        relative_to: folder the specification will be written to; default the data file's.

    Raises:
        DataError: the file cannot be read, no column looks like a target, or nothing can be decided from it.
        UserError: an answer that is not one of ``ANSWERS``.

    """
    known = dict(answers or {})
    unknown = sorted(set(known) - set(ANSWERS))
    if unknown:
        raise UserError("no such answer", got=unknown[0], allowed=ANSWERS)
    path = Path(data_path)
    table = read_table(path)
    file = _relative(path, Path(relative_to) if relative_to is not None else path.parent)
    guess = _guess(table, path, known)
    failure: DataError | None = None
    for tried in _fallbacks(guess, known):
        bare = _text(file, table, tried, None, known)
        spec = parse_spec(bare, "the written specification")
        try:
            frozen = prepare_table(spec, table)
        except DataError as error:
            failure = failure or error
            continue
        text = _text(file, table, tried, frozen, known)
        parse_spec(text, "the written specification")
        return text
    assert failure is not None  # noqa: S101 - the last fallback either returned or failed
    raise failure


def _relative(path: Path, folder: Path) -> str:
    try:
        return Path(os.path.relpath(path, folder)).as_posix()
    except ValueError:  # another drive
        return path.resolve().as_posix()


def _fallbacks(guess: _Guess, known: Mapping[str, str]) -> Iterator[_Guess]:
    """Give up a guessed time or group column where the data cannot be split by it; one that was asked for stays."""
    yield guess
    keep_group, keep_time = (guess.group if "group" in known else None), (guess.time if "time" in known else None)
    variants = [(guess.group, keep_time), (keep_group, guess.time), (keep_group, keep_time)]
    for group, time in dict.fromkeys(variants):
        if (group, time) != (guess.group, guess.time):
            yield _Guess(guess.name, guess.task, guess.target, guess.inputs, group, time)


# --- guessing ------------------------------------------------------------------------------------------------------


def _guess(table: Table, path: Path, known: Mapping[str, str]) -> _Guess:
    target = known.get("target") or _target(table)
    table.column(target, "target")
    time = known.get("time") or next(
        (name for name, cells in table.columns.items() if name != target and _is_time(name, cells)), None
    )
    group = known.get("group") or next(
        (name for name, cells in table.columns.items() if name not in {target, time} and _is_group(name, cells)), None
    )
    asked = tuple(name.strip() for name in known["input"].split(",")) if known.get("input") else ()
    left = [name for name in table.columns if name not in {target, time, group}]
    facts = [inspect(name, table.column(name, "input")) for name in asked or left]
    task = known.get("task") or _task(facts)
    return _Guess(known.get("name") or _slug(path.stem), task, target, asked or _inputs(task, facts), group, time)


def _target(table: Table) -> str:
    scores = {
        name: _target_score(name, cells, index, len(table.columns))
        for index, (name, cells) in enumerate(table.columns.items())
    }
    best = max(scores, key=lambda name: scores[name])
    if scores[best] <= 0:
        raise DataError(
            "no column looks like a label",
            where=table.where,
            allowed=list(table.columns),
            try_="name it: bakeoff init DATA --target COLUMN",
        )
    return best


def _target_score(name: str, cells: Cells, index: int, width: int) -> float:
    """Points for a label-like name, few well-filled classes and the usual place (last, or first); below zero: impossible."""
    labels = [label for label in plain_labels(cells) if label is not None]
    counts = Counter(labels)
    if not 2 <= len(counts) <= min(_MOST_CLASSES, max(len(labels) // 4, 2)) or min(counts.values()) < 4:
        return -1.0
    score = 1.0 + (4.0 if _TARGET.match(name) else 2.0 if _TARGET_PART.search(name) else 0.0)
    score += 1.0 if index == width - 1 else 0.5 if index == 0 else 0.0
    score += 0.5 if len(counts) <= 10 else 0.0
    return score - (0.5 if len(labels) < 0.9 * len(cells) else 0.0)


def _is_time(name: str, cells: Cells) -> bool:
    filled = [cell for cell in cells if cell is not None]
    if not filled or not _TIME.search(name) or _NOT_TIME.search(name) or len(filled) < 0.95 * len(cells):
        return False
    return is_dates(filled) and len(set(filled)) >= 8


def _is_group(name: str, cells: Cells) -> bool:
    filled = [cell for cell in cells if cell is not None]
    return bool(_GROUP.search(name)) and 20 <= len(set(filled)) <= 0.8 * len(filled) and len(filled) >= 0.9 * len(cells)


def _task(facts: Sequence[ColumnFacts]) -> str:
    texts = [column for column in facts if column.kind == "text"]
    words = [column for column in facts if column.kind == "category" and column.oddity in {"none", "identifier"}]
    lone = len(words) == 1 and not any(column.kind == "number" and column.oddity == "none" for column in facts)
    return "text-classification" if texts or lone else "tabular-classification"


def _inputs(task: str, facts: Sequence[ColumnFacts]) -> tuple[str, ...]:
    """Name the texts of a text task; a table takes every column."""
    texts = tuple(column.name for column in facts if column.kind == "text")
    lone = tuple(
        column.name for column in facts if column.kind == "category" and column.oddity in {"none", "identifier"}
    )
    return () if task != "text-classification" else texts or lone


def _slug(stem: str) -> str:
    return re.sub(r"-{2,}", "-", re.sub(r"[^\w.-]", "-", stem)).strip("-.")[:64] or "study"


# --- writing -------------------------------------------------------------------------------------------------------


def _text(file: str, table: Table, guess: _Guess, frozen: Frozen | None, known: Mapping[str, str]) -> str:
    lines = [
        "# Bakeoff 需求规格 / requirement specification.  检查 / check: bakeoff validate · 计划 / plan: bakeoff plan",
        _row(0, "name", quoted(guess.name), ""),
        _row(0, "task", guess.task, "text-classification | tabular-classification"),
        "data:",
        *_data(file, table, guess, frozen, known),
        "requirements:",
        "  quality:",
        _row(
            4,
            "metric",
            quoted(known.get("metric") or "macro_f1"),
            "accuracy | macro_f1 | balanced_accuracy | f1 | roc_auc",
        ),
        _row(4, "floor", known["floor"], "硬下限 / hard lower limit")
        if known.get("floor")
        else _row(4, "# floor", "0.80", "硬下限 / hard lower limit"),
        "  # latency: {p95: 50ms}          # 单次请求，含前后处理 / one request, pre- and post-processing included",
        "  # throughput: {min: 40/s}       # 一个服务进程须承受 / one serving process must sustain",
        "  # memory: {max: 1GiB}",
        "  # size: {max: 300MB}",
        "traffic: {volume: 10k/day, horizon: 12mo}  # 平均请求量与期限 / average requests, and for how long",
        *_value(frozen),
        "costs: {people: 300/h, label: 0.5}  # 人力时价、每条标注 / an hour of work, one new label",
        *_risk(frozen),
        '# candidates: {exclude: ["llm_prompt.*"]}  # 不参加的方案 / stacks that do not take part',
        "budget: {time: 20m}               # 测量最多用时 / time for measuring",
        "decision: {confidence: 0.95}",
        "preset: standard                  # quick | standard | rigorous",
        "seed: 0",
    ]
    return "\n".join(lines) + "\n"


def _data(file: str, table: Table, guess: _Guess, frozen: Frozen | None, known: Mapping[str, str]) -> Iterator[str]:
    yield _row(2, "file", quoted(file), f"{len(table):,} 行 / rows, {table.encoding}")
    names = guess.inputs
    yield _row(
        2,
        "input",
        '"*"' if not names else quoted(names[0]) if len(names) == 1 else f"[{', '.join(map(quoted, names))}]",
        "输入列 / input columns",
    )
    yield _row(2, "target", quoted(guess.target), f"标签列 / label: {_counts(frozen)}" if frozen else "标签列 / label")
    taken = {guess.target, guess.group, guess.time, *names}
    others = [name for name in table.columns if name not in taken] if names else []
    if others:
        yield f"  # 未用的列 / columns not used: {_comment(', '.join(others))}"
    suspects = frozen.profile.leakage_suspects if frozen else ()
    if suspects:
        yield f"  # 疑似泄漏，请核实 / may leak the answer, please check: {_comment(', '.join(suspects))}"
    yield "  # ignore: []                    # 方案不得看到的列 / columns no candidate may see"
    if frozen:
        yield _row(2, "language", frozen.language, "zh | en")
        yield from _positive(frozen, known)
        yield from _instruction(frozen, guess.task)
    elif known.get("positive"):
        yield _row(2, "positive", quoted(known["positive"]), "")
    yield "  split:"
    yield _row(
        4,
        "group",
        quoted(guess.group) if guess.group else "null",
        "同值不跨划分，如客户 / equal values stay on one side, e.g. a customer",
    )
    yield _row(
        4, "time", quoted(guess.time) if guess.time else "null", "按时间先后划分 / later rows never judge earlier ones"
    )


def _counts(frozen: Frozen) -> str:
    pairs = list(zip(frozen.classes, frozen.profile.class_counts, strict=True))
    shown = " · ".join(f"{_comment(name)[:24]} {count:,}" for name, count in pairs[:_SHOWN])
    return shown + (" · …" if len(pairs) > _SHOWN else "")


def _positive(frozen: Frozen, known: Mapping[str, str]) -> Iterator[str]:
    if known.get("positive"):
        yield _row(
            2, "positive", quoted(known["positive"]), "f1 和 roc_auc 关注的类 / the class f1 and roc_auc look at"
        )
    elif len(frozen.classes) == 2:
        rarer = frozen.classes[frozen.profile.class_counts.index(min(frozen.profile.class_counts))]
        yield _row(
            2,
            "positive",
            quoted(rarer),
            "f1 和 roc_auc 关注的类，较少的一类 / the class f1 and roc_auc look at: the rarer",
        )


def _instruction(frozen: Frozen, task: str) -> Iterator[str]:
    """Write the one sentence a language model is asked with; bare numbers as labels need words first."""
    if task != "text-classification" or len(frozen.classes) > 20 or sum(map(len, frozen.classes)) > 200:
        return
    zh = frozen.language == "zh"
    classes = ("、" if zh else ", ").join(_comment(name) for name in frozen.classes)
    sentence = f"判断下面的文字属于哪一类：{classes}。" if zh else f"Decide which of these the text is: {classes}."
    yield _row(2, "instruction", quoted(sentence), "")
    if not all(_WORDY.search(name) and len(name) > 1 for name in frozen.classes):
        pairs = ", ".join(f"{json.dumps(_comment(name), ensure_ascii=False)}: …" for name in frozen.classes[:3])
        yield f"  # labels: {{{pairs}}}  # 标签的含义，供语言模型读 / what the labels mean, for language models"


def _value(frozen: Frozen | None) -> Iterator[str]:
    if frozen is None:
        return
    first, second = (_comment(name) for name in frozen.classes[:2])
    example = json.dumps(f"{second}->{first}", ensure_ascii=False)
    yield f"# value: {{currency: CNY, per_correct: 0.002, errors: {{{example}: 0.05}}}}  # 对错值多少 / what answers are worth"


def _risk(frozen: Frozen | None) -> Iterator[str]:
    found = frozen is not None and any(count.kind in CERTAIN for count in frozen.profile.personal_data)
    why = "发现个人信息 / personal data found" if found else "report | mask | forbid"
    yield _row(0, "risk", f"{{personal_data: {'mask' if found else 'report'}, data_may_leave: false}}", why)


def _row(indent: int, key: str, value: str, comment: str) -> str:
    line = f"{' ' * indent}{key}: {value}"
    return f"{line.ljust(_WIDTH - 2)}  # {comment}" if comment else line


def quoted(text: str) -> str:
    """Write any text as a YAML scalar that reads back as the same text."""
    if _PLAIN.fullmatch(text) and text.lower() not in _WORDS_OF_YAML:
        return text
    return "".join(_escaped(character) for character in json.dumps(text, ensure_ascii=False))


def _escaped(character: str) -> str:
    if character.isprintable() and character != "\ufeff":
        return character
    return f"\\U{ord(character):08x}"


def _comment(text: str) -> str:
    """Keep what may stand in a YAML comment: no line ends, nothing unprintable."""
    return "".join(character if character.isprintable() and character != "\ufeff" else " " for character in text)
