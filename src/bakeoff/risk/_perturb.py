"""Ways in which real input differs from clean data; each is deterministic given a generator.

Text: typos, look-alike characters, full and half width, traditional characters, white space, letter case. Tables: a field left
out, a number in the wrong unit, a category nobody has seen.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from bakeoff.schema.artifact import InputColumn
from bakeoff.schema.base import Words

Row = Mapping[str, Any]
Random = np.random.Generator
_TYPO_RATE = 0.05
_LOOK_RATE = 0.3
_LOOKALIKES = dict(zip("aceiopxyABCEHKMOPTXc", "асеіорхуАВСЕНКМОРТХс", strict=True))
_SIMPLE = (
    "这个来时说为国们会学对发经长后东见书车马鸟鱼龙门开关问间电话语请谢谁读买卖钱银铁错钟铃让认识记设计论议评证试词译该详误诉讲许选连运过进远还边达"
    "迟适给级红绿约结线练组细终织绝统继续维综编缘网罗乐药极样机权条构标树桥检楼欢产亲价优会传伤体众从仅仓仪们亿儿党兰关兴养内写军农冲决况冻净准几凤"
    "击划刘则刚创别剧劝办务动劳势医华协单卖卫厂厅历压厌县参双变叶号听启员响团围图圆圣场坏块坚坛处备复够头夹夺奋奖妇妈娱孙宁实宠审宽宾对寻导将尝层岁"
    "师带帮广庄庆应庙废弃张强归当录彻态总恋恶悦惊惯愿战户扑执扩扫扬报护担拥择挂挥损换据摄数断无旧显晓暂术权杂来杨极枪柜标栏档梦检楼横欢欧残毁毕气汇汉"
)
_TRADITIONAL = (
    "這個來時說為國們會學對發經長後東見書車馬鳥魚龍門開關問間電話語請謝誰讀買賣錢銀鐵錯鐘鈴讓認識記設計論議評證試詞譯該詳誤訴講許選連運過進遠還邊達"
    "遲適給級紅綠約結線練組細終織絕統繼續維綜編緣網羅樂藥極樣機權條構標樹橋檢樓歡產親價優會傳傷體眾從僅倉儀們億兒黨蘭關興養內寫軍農衝決況凍淨準幾鳳"
    "擊劃劉則剛創別劇勸辦務動勞勢醫華協單賣衛廠廳歷壓厭縣參雙變葉號聽啟員響團圍圖圓聖場壞塊堅壇處備復夠頭夾奪奮獎婦媽娛孫寧實寵審寬賓對尋導將嘗層歲"
    "師帶幫廣莊慶應廟廢棄張強歸當錄徹態總戀惡悅驚慣願戰戶撲執擴掃揚報護擔擁擇掛揮損換據攝數斷無舊顯曉暫術權雜來楊極槍櫃標欄檔夢檢樓橫歡歐殘毀畢氣匯漢"
)
_HARDER = str.maketrans(_SIMPLE, _TRADITIONAL)
_WIDE = {code: code + 0xFEE0 for code in range(0x21, 0x7F)} | {0x20: 0x3000}
_NARROW = {wide: code for code, wide in _WIDE.items()}
_UNITS = (100.0, 1000.0, 0.01, 0.001)


@dataclass(frozen=True)
class Perturbation:
    """A named way to change rows; ``change(rows, random)`` returns as many new rows.

    ``gross``: no reader could tell what was meant, so a model that answers differently is to be watched, not blamed.
    """

    name: str
    label: Words
    change: Callable[[Sequence[Row], Random], list[dict[str, Any]]]
    gross: bool = False


def perturbations(inputs: Sequence[InputColumn], language: str) -> tuple[Perturbation, ...]:
    """Return those that make sense for the columns a candidate reads."""
    texts = [column.name for column in inputs if column.kind == "text"]
    numbers = [column.name for column in inputs if column.kind == "number"]
    categories = [column.name for column in inputs if column.kind == "category"]
    found: list[Perturbation] = []
    if texts:
        found += [_text(name, label, change, texts) for name, label, change in _TEXTS]
        found += (
            [_text("traditional", Words(zh="繁体字", en="traditional characters"), _traditional, texts)]
            if language == "zh"
            else []
        )
    if len(inputs) > 1:
        found.append(_missing([column.name for column in inputs]))
    if numbers:
        found.append(_slips(numbers))
    if categories:
        found.append(_unseen(categories))
    return tuple(found)


def _text(name: str, label: Words, change: Callable[[str, Random], str], columns: Sequence[str]) -> Perturbation:
    def apply(rows: Sequence[Row], random: Random) -> list[dict[str, Any]]:
        return [
            {**row, **{column: change(row[column], random) for column in columns if isinstance(row.get(column), str)}}
            for row in rows
        ]

    return Perturbation(name, label, apply)


def typos(text: str, random: Random) -> str:
    """Swap, drop or double about one character in twenty, one at least."""
    if len(text) < 2:
        return text
    signs = list(text)
    for _ in range(max(1, round(len(text) * _TYPO_RATE))):
        at, action = int(random.integers(len(signs) - 1)), int(random.integers(3))
        if action == 0:
            signs[at], signs[at + 1] = signs[at + 1], signs[at]
        elif action == 1 and len(signs) > 2:
            del signs[at]
        else:
            signs.insert(at, signs[at])
    return "".join(signs)


def homoglyphs(text: str, random: Random) -> str:
    """Replace about a third of the Latin letters that have a Cyrillic twin, and hide zero-width spaces between others."""
    return "".join(_look(sign, random) for sign in text)


def _look(sign: str, random: Random) -> str:
    if random.random() >= _LOOK_RATE:
        return sign
    return _LOOKALIKES.get(sign, sign if sign.isascii() else f"{sign}\u200b" if random.random() < _LOOK_RATE else sign)


def width(text: str, random: Random) -> str:
    """Write Latin letters, digits and punctuation in full width, and what was full width in half."""
    del random
    return text.translate({**_WIDE, **_NARROW})


def spaces(text: str, random: Random) -> str:
    """Put white space where none was: line breaks, runs, ideographic spaces between about one character in ten."""
    blanks = (" ", "  ", "\n", "\t", "\u3000")
    return "".join(sign + (blanks[int(random.integers(len(blanks)))] if random.random() < 0.1 else "") for sign in text)


def case(text: str, random: Random) -> str:
    """Write everything in capitals, without punctuation at the end."""
    del random
    return text.upper().rstrip("。！？.!?")


def _traditional(text: str, random: Random) -> str:
    del random
    return text.translate(_HARDER)


def _missing(columns: Sequence[str]) -> Perturbation:
    def apply(rows: Sequence[Row], random: Random) -> list[dict[str, Any]]:
        return [_without(row, columns, random) for row in rows]

    return Perturbation("missing_field", Words(zh="缺一个字段", en="one field missing"), apply)


def _without(row: Row, columns: Sequence[str], random: Random) -> dict[str, Any]:
    present = [name for name in columns if row.get(name) is not None]
    choice = float(random.random())
    return {**row, present[int(choice * len(present))]: None} if len(present) > 1 else dict(row)


def _slips(columns: Sequence[str]) -> Perturbation:
    def apply(rows: Sequence[Row], random: Random) -> list[dict[str, Any]]:
        return [_slipped(row, columns, random) for row in rows]

    return Perturbation("unit_slip", Words(zh="单位写错", en="a number in the wrong unit"), apply, gross=True)


def _slipped(row: Row, columns: Sequence[str], random: Random) -> dict[str, Any]:
    choice, factor = float(random.random()), _UNITS[int(random.integers(len(_UNITS)))]
    present = [name for name in columns if isinstance(row.get(name), int | float) and row[name]]
    if not present:
        return dict(row)
    name = present[int(choice * len(present))]
    return {**row, name: float(row[name]) * factor}


def _unseen(columns: Sequence[str]) -> Perturbation:
    def apply(rows: Sequence[Row], random: Random) -> list[dict[str, Any]]:
        names = [columns[int(random.integers(len(columns)))] for _ in rows]
        return [
            {**row, name: f"{row[name]}?"} if isinstance(row.get(name), str) else dict(row)
            for row, name in zip(rows, names, strict=True)
        ]

    return Perturbation("unseen_category", Words(zh="没见过的类别", en="a category never seen"), apply)


_TEXTS: tuple[tuple[str, Words, Callable[[str, Random], str]], ...] = (
    ("typos", Words(zh="错别字", en="typos"), typos),
    ("homoglyphs", Words(zh="形近字符", en="look-alike characters"), homoglyphs),
    ("width", Words(zh="全角半角", en="full and half width"), width),
    ("white_space", Words(zh="多余空白", en="stray white space"), spaces),
    ("capitals", Words(zh="全大写与缺标点", en="capitals, no punctuation"), case),
)
