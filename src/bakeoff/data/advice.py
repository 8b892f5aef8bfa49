"""The profile's advice: what was noticed and what to do about it, in Chinese and English."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Literal

from bakeoff.data.personal import CERTAIN, said
from bakeoff.schema.base import Words
from bakeoff.schema.profile import Advice, Profile
from bakeoff.schema.spec import Spec

if TYPE_CHECKING:
    from bakeoff.data.profile import Noticed

_TWINS = 0.01
_IMBALANCE = 0.1
_RARE = 10
_MISSING = 0.3
_SHOWN = 5
_FEW = 1_000
_ODD_ZH = {"constant": "只有一个值", "identifier": "像是编号", "date": "日期", "empty": "全空"}
_ODD_EN = {"constant": "constant", "identifier": "an identifier", "date": "a date", "empty": "empty"}


def advise(spec: Spec, profile: Profile, noticed: Noticed) -> tuple[Advice, ...]:
    """Return all advice, the most severe first."""
    parts = (_leaks(noticed), _floor(spec, profile), _repeats(spec, profile, noticed), _privacy(spec, profile), _classes(profile, noticed),
             _columns(profile, noticed), _rows(spec, profile, noticed), _size(profile))  # fmt: skip
    order = {"stop": 0, "warn": 1, "info": 2}
    return tuple(sorted((advice for part in parts for advice in part), key=lambda advice: order[advice.severity]))


def _say(code: str, severity: Literal["info", "warn", "stop"], zh: str, en: str, do_zh: str, do_en: str) -> Advice:
    return Advice(code=code, severity=severity, message=Words(zh=zh, en=en), action=Words(zh=do_zh, en=do_en))


def _leaks(noticed: Noticed) -> Iterator[Advice]:
    for leak in noticed.leaks:
        name, share = leak.column, f"{leak.alone:.1%}"
        if leak.reason == "predicts":
            yield _say(
                "leak_predicts",
                "warn",
                f"列“{name}”单独就能以 {share} 的均衡准确率判出标签，好得可疑。",
                f"Column '{name}' alone predicts the label with {share} balanced accuracy: suspiciously good.",
                f"确认预测那一刻是否已有该列；若没有，加入 data.ignore: [{name}]。",
                f"Check that it is known at the moment of prediction; if not, add it to data.ignore: [{name}].",
            )
        elif leak.reason == "label_in_text":
            yield _say(
                "leak_label_in_text",
                "warn",
                f"列“{name}”里 {share} 的文本直接写着自己的标签。",
                f"{share} of the texts in '{name}' contain their own label.",
                "把标签字样从文本里去掉，否则测的是查找而不是判断。",
                "Strip the label words from the text; otherwise finding is measured, not judging.",
            )
        else:
            yield _say(
                "leak_name",
                "warn" if leak.suspect else "info",
                f"列“{name}”的名字含有目标列名（单列均衡准确率 {share}）。",
                f"The name of column '{name}' repeats the target's (alone it reaches {share} balanced accuracy).",
                f"若它由标签推出，加入 data.ignore: [{name}]。",
                f"If it is derived from the label, add it to data.ignore: [{name}].",
            )


def _repeats(spec: Spec, profile: Profile, noticed: Noticed) -> Iterator[Advice]:
    if noticed.twins >= _TWINS:
        removed = profile.exact_duplicates
        yield _say(
            "duplicates",
            "warn" if noticed.twins >= 0.05 else "info",
            f"随机划分会让 {noticed.twins:.0%} 的测试行在训练集里有（近似）副本，分数虚高；已去掉 {removed:,} 行完全重复，"
            f"{profile.near_duplicate_rows:,} 行近似重复只放在同一侧。",
            f"A random split would give {noticed.twins:.0%} of the test rows a (near) twin in training and flatter every score; "
            f"{removed:,} exact repeats were removed "
            f"and {profile.near_duplicate_rows:,} near repeats kept on one side of every split.",
            "不必处理；若重复来自上游拼接，请在源头去重。",
            "Nothing to do here; if an export repeats rows, mend it at the source.",
        )
    if profile.conflicting_rows:
        yield _say(
            "conflicts",
            "warn" if profile.conflicting_rows >= 0.01 * profile.rows_read else "info",
            f"{profile.conflicting_rows:,} 行内容相同却带两种标签，已全部去掉。",
            f"{profile.conflicting_rows:,} rows say the same but carry two labels; all were removed.",
            "抽查这些行，统一标注规则后再加回来。",
            "Look at some, settle the labelling rule, and add them again with one label.",
        )
    if noticed.repeats_kept:
        yield _say(
            "repeats_kept",
            "info",
            "取值组合很少，相同的行属于正常观测，没有去重。",
            "Few different rows are possible, so identical ones are separate observations and were kept.",
            "若它们其实是重复导出的记录，请先在文件里去重。",
            "If they are in fact repeated records, remove them from the file.",
        )
    if noticed.largest_cluster >= max(20, 0.02 * profile.rows_used) and spec.data.split.group is None:
        yield _say(
            "boilerplate",
            "warn",
            f"有 {noticed.largest_cluster:,} 行几乎是同一段文字（模板？）。",
            f"{noticed.largest_cluster:,} rows are nearly the same text (a template?).",
            "考虑去掉模板文字，只留有信息的部分。",
            "Consider stripping the template so that only what differs is left.",
        )


def _floor(spec: Spec, profile: Profile) -> Iterator[Advice]:
    floor = spec.requirements.quality.floor
    if floor is None:
        return
    needed, have = profile.rows_to_prove_floor, profile.split.confirm
    if needed is None:
        yield _say(
            "floor_unprovable",
            "warn",
            f"下限 {floor:g} 太接近 1，多少行都难以证明。",
            f"A floor of {floor:g} is too near to 1 to be proven with any affordable number of rows.",
            "调低 requirements.quality.floor。",
            "Lower requirements.quality.floor.",
        )
    elif needed > have:
        sure = f"{spec.decision.confidence:.0%}"
        total = round(profile.rows_used * needed / max(have, 1), -1 if needed < 1_000 else -2)
        yield _say(
            "floor_rows",
            "warn",
            f"要以 {sure} 置信度证明下限 {floor:g}（真实分数高出 2 个点时）约需 {needed:,} 行确认集，现有 {have:,} 行；结论可能是“未能证明”。",
            f"Proving the floor of {floor:g} at {sure} confidence (true score 2 points above it) takes about {needed:,} confirm rows "
            f"and there are {have:,}; "
            "the verdict may be 'unproven'.",
            f"共标注约 {total:,} 行，或调低下限、降低 decision.confidence。",
            f"Label about {total:,} rows in all, lower the floor, or lower decision.confidence.",
        )


def _privacy(spec: Spec, profile: Profile) -> Iterator[Advice]:
    if not profile.personal_data:
        return
    zh = "、".join(f"{said(count.kind).zh} {count.rows:,} 行" for count in profile.personal_data)
    en = ", ".join(f"{said(count.kind).en} in {count.rows:,} rows" for count in profile.personal_data)
    masked = spec.risk.personal_data == "mask"
    certain = any(count.kind in CERTAIN for count in profile.personal_data)
    yield _say(
        "personal_data",
        "info" if masked or not certain else "warn",
        f"发现个人信息：{zh}（人名靠称谓或字段名识别，会有漏报和少量误报）。",
        f"Personal data found: {en} (names are recognised by a title or form field: some are missed, a few are not names).",
        "候选方案只会看到遮盖后的文本。"
        if masked
        else "设 risk.personal_data: mask 让训练和评估只用遮盖后的文本；先确认有处理这些信息的依据。",
        "Candidates see masked text only."
        if masked
        else "Set risk.personal_data: mask to train and evaluate on masked text, and check that you may process these data.",
    )


def _classes(profile: Profile, noticed: Noticed) -> Iterator[Advice]:
    share = min(profile.class_counts) / profile.rows_used * len(profile.classes)
    if share < _IMBALANCE * 2:
        rare = profile.classes[profile.class_counts.index(min(profile.class_counts))]
        yield _say(
            "imbalance",
            "info",
            f"类别不均衡：“{rare}”只占 {min(profile.class_counts) / profile.rows_used:.1%}。",
            f"The classes are imbalanced: '{rare}' is {min(profile.class_counts) / profile.rows_used:.1%} of the rows.",
            "用 macro_f1 或 balanced_accuracy 作指标，或在 value.errors 里给错误定价；accuracy 会奖励只猜多数类。",
            "Judge by macro_f1 or balanced_accuracy, or price mistakes in value.errors; accuracy rewards guessing the majority.",
        )
    few = [f"{name} ({count})" for name, count in noticed.smallest.items() if count < _RARE]
    if few:
        shown = ", ".join(few[:_SHOWN]) + (", …" if len(few) > _SHOWN else "")
        yield _say(
            "rare_classes",
            "warn",
            f"确认集里这些类别不到 {_RARE} 行：{shown}，它们的分数几乎只是运气。",
            f"These classes have fewer than {_RARE} confirm rows: {shown}; their scores are mostly luck.",
            "多标注这些类别，或合并它们。",
            "Label more rows of these classes, or merge them.",
        )


def _columns(profile: Profile, noticed: Noticed) -> Iterator[Advice]:
    if noticed.unused:
        zh, en = _odd_list(noticed.unused)
        yield _say(
            "unused_columns",
            "info",
            f"没有用这些列：{zh}。",
            f"Columns left out: {en}.",
            "确实要用的话，在 data.input 里逐列写明。",
            "Name them in data.input if they should be used all the same.",
        )
    if noticed.odd_but_used:
        zh, en = _odd_list(noticed.odd_but_used)
        yield _say(
            "odd_columns",
            "warn",
            f"点名使用的列有疑问：{zh}。",
            f"Columns you named look unsuitable: {en}.",
            "编号会让模型死记硬背；日期请先换成时长、星期等特征。",
            "An identifier invites learning by heart; turn dates into durations, weekdays and the like first.",
        )
    sparse = [
        column.name
        for column in profile.columns
        if column.missing > _MISSING * profile.rows_read and column.missing < profile.rows_read
    ]
    if sparse:
        shown = ", ".join(sparse[:_SHOWN]) + (", …" if len(sparse) > _SHOWN else "")
        yield _say(
            "missing",
            "info",
            f"缺失超过三成的列：{shown}。",
            f"Columns with more than 30 % missing: {shown}.",
            "弄清缺失的原因；若缺失取决于结果，它本身就是泄漏。",
            "Find out why; if a cell is missing because of the outcome, that is a leak in itself.",
        )


def _odd_list(pairs: tuple[tuple[str, str], ...]) -> tuple[str, str]:
    shown = pairs[: 2 * _SHOWN]
    more = "…" if len(pairs) > len(shown) else ""
    return "、".join(f"{name}（{_ODD_ZH[odd]}）" for name, odd in shown) + more, ", ".join(
        f"{name} ({_ODD_EN[odd]})" for name, odd in shown
    ) + more


def _rows(spec: Spec, profile: Profile, noticed: Noticed) -> Iterator[Advice]:
    if noticed.ragged:
        lines = ", ".join(str(line) for line in noticed.ragged[:_SHOWN]) + ("…" if len(noticed.ragged) > _SHOWN else "")
        yield _say(
            "ragged",
            "warn",
            f"{len(noticed.ragged):,} 行的列数不对，已跳过（第 {lines} 行）。",
            f"{len(noticed.ragged):,} rows have a wrong number of cells and were skipped (lines {lines}).",
            "给含分隔符的单元格加引号。",
            "Quote cells that contain the separator.",
        )
    left = profile.unusable_rows - len(noticed.ragged) - noticed.dropped
    if left:
        yield _say(
            "unusable",
            "warn" if left > 0.05 * profile.rows_read else "info",
            f"{left:,} 行没有标签、没有输入{'或没有时间' if spec.data.split.time else ''}，已跳过。",
            f"{left:,} rows have no label{', no time' if spec.data.split.time else ''} or no input and were skipped.",
            "补齐或删除这些行。",
            "Complete or delete them.",
        )
    if noticed.dropped:
        yield _say(
            "time_border",
            "info",
            f"{noticed.dropped:,} 行所在的组或近似重复簇跨越时间界线，为避免泄漏未使用。",
            f"{noticed.dropped:,} rows belong to a group or near-duplicate cluster that spans a time border and are not used, to avoid leakage.",
            "不必处理。",
            "Nothing to do.",
        )
    if spec.data.split.time and any(count == 0 for count in noticed.smallest.values()):
        gone = ", ".join(name for name, count in noticed.smallest.items() if count == 0)
        yield _say(
            "time_classes",
            "warn",
            f"最新的一段里没有类别：{gone}。",
            f"The newest period holds no rows of: {gone}.",
            "取更长的时间跨度，或合并类别。",
            "Cover a longer time, or merge classes.",
        )


def _size(profile: Profile) -> Iterator[Advice]:
    if profile.rows_used < _FEW:
        yield _say(
            "few_rows",
            "info",
            f"只有 {profile.rows_used:,} 行可用，区间会很宽。",
            f"Only {profile.rows_used:,} rows are usable, so intervals will be wide.",
            "报告会说明还需多少标注才能分出高下；零样本方案在此规模下值得一试。",
            "The report says how many more labels would separate the finalists; zero-shot candidates are worth a try at this size.",
        )
