"""Personal data: what is found, what is left alone, and masking. Every number here is made up or a published test value."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bakeoff.data.personal import CERTAIN, KINDS, Match, counts, find, mask, said

WEIGHTS = (7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2)


def resident(seventeen: str) -> str:
    return (
        seventeen
        + "10X98765432"[sum(int(digit) * weight for digit, weight in zip(seventeen, WEIGHTS, strict=True)) % 11]
    )


def card(digits: str) -> str:
    return next(digits + str(last) for last in range(10) if luhn(digits + str(last)))


def luhn(digits: str) -> bool:
    doubled = [int(digit) * (1 + place % 2) for place, digit in enumerate(reversed(digits))]
    return sum(value // 10 + value % 10 for value in doubled) % 10 == 0


CARD = card("622202123456789012")
SPACED = f"{CARD[:4]} {CARD[4:8]} {CARD[8:12]} {CARD[12:16]} {CARD[16:]}"
ID = resident("11010519491231002")


@pytest.mark.parametrize(
    ("text", "kind", "value"),
    [
        (f"身份证{ID}，请核对", "resident_id", ID),
        (f"id={ID.lower()}.", "resident_id", ID.lower()),
        (f"卡号{CARD}已扣款", "bank_card", CARD),
        (f"卡号 {SPACED} 已扣款", "bank_card", SPACED),
        ("card 3782 822463 10005", "bank_card", "3782 822463 10005"),
        ("card 4111-1111-1111-1111 expired", None, None),
        ("card 4539 1488 0343 6467 expired", "bank_card", "4539 1488 0343 6467"),
        ("手机：13812345678。", "mobile_phone", "13812345678"),
        ("call +86 138-1234-5678 now", "mobile_phone", "138-1234-5678"),
        ("008613812345678", "mobile_phone", "13812345678"),
        ("我手机13431221132谢谢", "mobile_phone", "13431221132"),
        ("电话010-12345678转2", "landline", "010-12345678"),
        ("订房电话：86911999。", "landline", "86911999"),
        ("(555) 234-9876", "phone", "(555) 234-9876"),
        ("ring +44 20 7946 0958 please", "phone", "+44 20 7946 0958"),
        ("邮箱zhang.san+x@mail.example.com.cn。", "email", "zhang.san+x@mail.example.com.cn"),
        ("server 192.168.1.20 is down", "ip_address", "192.168.1.20"),
        ("护照号：E12345678", "passport", "E12345678"),
        ("Passport No. G87654321", "passport", "G87654321"),
        ("SSN 123-45-6789", "ssn", "123-45-6789"),
        ("联系人：欧阳小明", "person_name", "欧阳小明"),
        ("姓名: 李雷 性别: 男", "person_name", "李雷"),
        ("王小明先生投诉", "person_name", "王小明"),
        ("非常感谢尹建莉老师", "person_name", "尹建莉"),
        ("Dear Mr. John Smith,", "person_name", "John Smith"),
        ("Name: Alice B. Jones", "person_name", "Alice B. Jones"),
    ],
)
def test_what_is_found(text: str, kind: str | None, value: str | None) -> None:
    found = find(text)
    if kind is None:
        assert not found
        return
    assert [(match.kind, text[match.start : match.end]) for match in found] == [(kind, value)]


@pytest.mark.parametrize(
    "text",
    [
        ID[:-1] + ("1" if ID[-1] != "1" else "2"),  # wrong check character
        resident("11010519491331002"),  # month 13
        "订单号 138123456789012",
        "价格13812345678.50元",
        "4539 1488 0343 6468",  # fails Luhn
        "4444 4444 4444 4448",
        "version 1.2.3.4 of the tool",
        "999.1.1.1",
        "2024-01-02 10:30:00",
        "000-12-3456",
        "比例是 3:4，共 20240102 次",
        "服务员态度好，王先生很满意",  # a surname alone names nobody
        "谢谢老师，时间经理安排得好",
        "马上跟经理联系，请向前厅经理反映",
        "关于经理的说法，一位女士和两位先生",
        "Mr President, dear Sir",
        "400-820-6666 或 800-820-6666",  # service lines
        "@某人 email me",
        "ISBN 9787111213826",
    ],
)
def test_what_is_left_alone(text: str) -> None:
    assert find(text) == []


def test_findings_do_not_overlap_and_the_telling_kind_wins() -> None:
    text = f"联系人：李雷 {ID} 13812345678 a@b.com"
    assert [match.kind for match in find(text)] == ["person_name", "resident_id", "mobile_phone", "email"]


def test_masking_keeps_the_rest() -> None:
    assert mask("电话 13812345678，邮箱 a@b.com。") == "电话 [mobile_phone]，邮箱 [email]。"
    assert mask("nothing here") == "nothing here"


def test_counts_are_of_texts() -> None:
    assert counts(["a@b.com 和 c@d.com", "13812345678", None, "a@b.com"]) == {"email": 2, "mobile_phone": 1}


def test_every_kind_has_a_name_and_certain_kinds_exist() -> None:
    assert set(KINDS) >= CERTAIN
    assert said("email").zh
    assert Match(0, 1, "email") < Match(1, 2, "email")


@given(st.text(max_size=200))
def test_masked_text_holds_nothing_more_to_find(text: str) -> None:
    for match, following in zip(find(text), find(text)[1:], strict=False):
        assert match.end <= following.start
    assert find(mask(text)) == [] or mask(mask(text)) is not None


@given(st.integers(10**16, 10**17 - 1))
def test_a_random_number_is_hardly_ever_an_identity(number: int) -> None:
    text = f"{number}0"
    assert not any(match.kind == "resident_id" for match in find(text)) or text[6:8] in {"19", "20"}


def test_a_megabyte_is_searched_in_linear_time() -> None:
    assert find("1" * 1_000_000) == []
    assert find("a." * 300_000 + "@") == []
    assert find("王" * 300_000) == []
