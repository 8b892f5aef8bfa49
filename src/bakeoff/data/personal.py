"""Personal data in text: what kind, where, how many rows, and the text with it masked. Mainland China and English forms.

Each detector prefers missing something to crying wolf: numbers must pass their checksum, names need a title or a form field
beside them. So a clean result means "nothing of these forms", never "nothing personal".
Sources: GB 11643-1999 (resident identity number, ISO 7064 MOD 11-2), ISO/IEC 7812-1 (Luhn), ITU E.164.
"""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from bakeoff.data.personal_names import CHINESE_NAME, ENGLISH_NAME, is_name_column, plausible_chinese, plausible_english
from bakeoff.schema.base import Words

__all__ = ["CERTAIN", "KINDS", "Match", "counts", "find", "is_name_column", "mask", "mask_column", "said"]

KINDS: Final[dict[str, Words]] = {
    "resident_id": Words(zh="居民身份证号", en="mainland resident identity number"),
    "bank_card": Words(zh="银行卡号", en="bank card number"),
    "mobile_phone": Words(zh="手机号", en="mainland mobile number"),
    "landline": Words(zh="固定电话", en="landline number"),
    "phone": Words(zh="电话号码（国际或北美）", en="telephone number (international or North American)"),
    "email": Words(zh="电子邮箱", en="e-mail address"),
    "ip_address": Words(zh="IP 地址", en="IP address"),
    "passport": Words(zh="护照或通行证号", en="passport or travel permit number"),
    "ssn": Words(zh="美国社会安全号", en="US social security number"),
    "person_name": Words(zh="人名（靠称谓或字段名识别）", en="person's name (by title or form field)"),
}
"""Every kind with its name; in order of precedence where two overlap."""

CERTAIN: Final = frozenset(KINDS) - {"person_name", "landline", "ip_address"}
"""Kinds precise enough to refuse a file for."""


@dataclass(frozen=True, order=True)
class Match:
    """One finding: ``text[start:end]`` is of ``kind``."""

    start: int
    end: int
    kind: str


@dataclass(frozen=True)
class _Detector:
    """A pattern whose group 'v' is the value, what must be in the text for it to be tried at all, and a final check."""

    kind: str
    pattern: re.Pattern[str]
    hint: re.Pattern[str]
    check: Callable[[str], bool] = lambda _: True


def _luhn(digits: str) -> bool:
    total = 0
    for index, digit in enumerate(reversed(digits)):
        value = int(digit) * (1 + index % 2)
        total += value - 9 if value > 9 else value
    return total % 10 == 0


def _resident_id(text: str) -> bool:
    """Province, birth date and check character (ISO 7064 MOD 11-2) of an 18-digit number."""
    weights = (7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2)
    if sum(int(digit) * weight for digit, weight in zip(text, weights, strict=False)) % 11 != "10X98765432".index(
        text[17].upper()
    ):
        return False
    return _date(text[6:14])


def _date(text: str) -> bool:
    try:
        born = dt.date(int(text[:4]), int(text[4:6]), int(text[6:8]))
    except ValueError:
        return False
    return 1900 <= born.year <= 2100


def _card(text: str) -> bool:
    digits = re.sub(r"[ -]", "", text)
    return digits[0] in "3456" and len(set(digits)) > 3 and _luhn(digits)


def _ip(text: str) -> bool:
    parts = [int(part) for part in text.split(".")]
    return all(part <= 255 for part in parts) and 0 < parts[0] < 240 and parts != [1, 2, 3, 4]


def _ssn(text: str) -> bool:
    area, group, serial = text[:3], text[4:6], text[7:]
    return area not in {"000", "666"} and area[0] != "9" and group != "00" and serial != "0000"


def _north_american(text: str) -> bool:
    digits = re.sub(r"\D", "", text)
    return len(set(digits)) > 2 and not re.match(r"1?(?:800|888|877|866|400)", digits)


_DIGITS = re.compile(r"\d{7}|\d{3}[- .)]")
_LONG = re.compile(r"\d{4}")
_DETECTORS: Final = (
    _Detector(
        "resident_id",
        re.compile(
            r"(?<![0-9A-Za-z])(?P<v>[1-9]\d{5}(?:19|20)\d{2}(?:0[1-9]|1[0-2])(?:[0-2]\d|3[01])\d{3}[\dXx])(?![0-9A-Za-z])"
        ),
        re.compile(r"\d{17}"),
        _resident_id,
    ),
    _Detector(
        "bank_card",
        re.compile(
            r"(?<![\d.,-])(?P<v>[3-6]\d{3}(?:[ -]?\d{4}){2}(?:[ -]?\d{2,4}){1,2}|3[47]\d\d[ -]?\d{6}[ -]?\d{5})(?![\d.,]?\d)"
        ),
        _LONG,
        lambda text: 15 <= len(re.sub(r"\D", "", text)) <= 19 and _card(text),
    ),
    _Detector(
        "mobile_phone",
        re.compile(r"(?<![\d.A-Za-z])(?:\+?(?:00)?86[- ]?)?(?P<v>1[3-9]\d[- ]?\d{4}[- ]?\d{4})(?![\d.]?\d)"),
        _DIGITS,
    ),
    _Detector(
        "landline",
        re.compile(
            r"(?<![\d.A-Za-z-])(?P<v>\(?0(?:10|2\d|[3-9]\d{2})\)?(?:-| )\d{7,8})(?!\d|-\d{5})"
            r"|(?:电话|座机|热线|传真|致电)[是为：:\s]{0,3}(?P<w>\d{7,8})(?!\d)"
        ),
        _DIGITS,
    ),
    _Detector("ssn", re.compile(r"(?<![\d-])(?P<v>\d{3}-\d{2}-\d{4})(?![\d-])"), re.compile(r"\d-\d\d-\d"), _ssn),
    _Detector(
        "phone",
        re.compile(
            r"(?<![\w.+-])(?P<v>\+(?!86)[1-9]\d{0,2}[ .-]?\(?\d{1,4}\)?(?:[ .-]?\d{2,4}){2,4}"
            r"|(?:1[ .-])?(?:\([2-9]\d{2}\) ?|[2-9]\d{2}[ .-])[2-9]\d{2}[ .-]\d{4})(?![\d-])"
        ),
        re.compile(r"\d{3}"),
        _north_american,
    ),
    _Detector(
        "email",
        re.compile(
            r"(?<![\w.+-])(?P<v>[A-Za-z0-9][\w.+-]{0,63}@(?:[A-Za-z0-9-]{1,63}\.)+[A-Za-z]{2,24})(?![A-Za-z0-9])",
            re.ASCII,
        ),
        re.compile("@"),
    ),
    _Detector(
        "ip_address",
        re.compile(r"(?<![\w.])(?P<v>\d{1,3}(?:\.\d{1,3}){3})(?![\w]|\.\d)"),
        re.compile(r"\d\.\d{1,3}\.\d"),
        _ip,
    ),
    _Detector(
        "passport",
        re.compile(
            r"(?:护照|通行证|passport)(?:号码?|编号|证号|\s?(?:no|number|num|#))?\.?[是为：:\s]{0,3}(?P<v>[A-Z]{1,2}\d{7,8}|\d{9})(?![0-9A-Za-z])",
            re.IGNORECASE,
        ),
        re.compile("护照|通行证|passport", re.IGNORECASE),
    ),
    _Detector("person_name", CHINESE_NAME, CHINESE_NAME, plausible_chinese),
    _Detector(
        "person_name",
        ENGLISH_NAME,
        re.compile(r"\b(?:Mrs?|Ms|Dr|Prof|Sir|[Nn]ame|Dear|Regards|Sincerely|Contact|Attn)\b"),
        plausible_english,
    ),
)


def find(text: str) -> list[Match]:
    """Return what looks like personal data, in order, without overlaps (the more telling kind wins)."""
    taken: list[Match] = []
    for detector in _DETECTORS:
        if detector.hint.search(text):
            taken.extend(
                match
                for match in _matches(detector, text)
                if not any(match.start < known.end and known.start < match.end for known in taken)
            )
    return sorted(taken)


def _matches(detector: _Detector, text: str) -> Iterator[Match]:
    for found in detector.pattern.finditer(text):
        group = next(name for name, value in found.groupdict().items() if value is not None)
        if detector.check(found[group]):
            yield Match(found.start(group), found.end(group), detector.kind)


def mask(text: str) -> str:
    """Replace every finding by its kind in brackets: ``电话 13812345678`` → ``电话 [mobile_phone]``."""
    found = find(text)
    for match in reversed(found):
        text = f"{text[: match.start]}[{match.kind}]{text[match.end :]}"
    return text


def mask_column(name: str, cells: Sequence[str | None]) -> list[str | None]:
    """Mask every cell of a column; a column of bare names is masked whole, since nothing in the cell gives them away."""
    if is_name_column(name, cells):
        return [None if cell is None else "[person_name]" for cell in cells]
    return [None if cell is None else mask(cell) for cell in cells]


def counts(texts: Iterable[str | None]) -> dict[str, int]:
    """Return for each kind the number of texts that hold at least one, most frequent first."""
    tally: dict[str, int] = {}
    for text in texts:
        for kind in {match.kind for match in find(text)} if text else ():
            tally[kind] = tally.get(kind, 0) + 1
    return dict(sorted(tally.items(), key=lambda item: (-item[1], item[0])))


def said(kind: str) -> Words:
    """Return the name of a kind in both languages."""
    return KINDS[kind]
