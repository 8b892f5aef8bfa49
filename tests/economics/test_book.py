"""The price book: ours is complete and owns up to being assumed; a team's own overlays it; mistakes are all listed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from bakeoff.economics import default_book, load_book
from bakeoff.economics.book import Price
from bakeoff.schema import SpecError, UserError


def _prices() -> list[Price]:
    book = default_book()
    found = [*book.exchange.values()]
    found += [price for machine in book.machines.values() for price in (machine.price, machine.speed)]
    found += [price for effort in book.effort.values() for price in (effort.build, effort.upkeep)]
    found += [price for token in book.tokens.values() for price in (token.input, token.output)]
    return found


def test_nothing_in_our_book_poses_as_a_quotation() -> None:
    assert len(_prices()) > 40
    assert {price.provenance for price in _prices()} == {"assumed"}
    assert all(len(price.source) > 8 for price in _prices())


def test_our_book_names_the_machines_and_families_in_use() -> None:
    book = default_book()
    assert {"local", "cloud-2c", "cloud-4c", "cloud-8c", "cloud-gpu"} <= set(book.machines)
    families = {"baseline", "linear", "boosting", "embedding_head", "encoder", "llm_prompt", "ensemble", "other"}
    assert families <= set(book.effort)
    assert book.effort_of("never heard of it") == book.effort["other"]


def test_longest_contained_name_prices_a_model() -> None:
    book = default_book()
    assert book.tokens_of("gpt-4o-mini-2024") == book.tokens["gpt-4o-mini"]
    assert book.tokens_of("gpt-4o") == book.tokens["gpt-4o"]
    assert book.tokens_of("Qwen2.5-72B-Instruct") == book.tokens["qwen"]
    assert book.tokens_of("mystery") == book.tokens["other"]


@given(st.tuples(*[st.floats(0, 1e6)] * 3), st.floats(0, 1))
def test_a_price_stays_in_its_range_with_the_typical_as_median(ends: tuple[float, float, float], u: float) -> None:
    low, middle, high = sorted(ends)
    price = Price(low=low, typical=middle, high=high, source="made up")
    assert low <= float(price.at(u)) <= high
    assert float(price.at(0.5)) == middle
    assert float(price.at(0.0)) == low
    assert float(price.at(1.0)) == high


def test_exchange_goes_both_ways() -> None:
    book = default_book()
    assert book.rate(None, "CNY") == 1.0
    assert book.rate("USD", "CNY") == book.exchange["USD"].typical
    assert np.isclose(book.rate("CNY", "EUR") * book.rate("EUR", "CNY"), 1.0)
    with pytest.raises(UserError, match="no exchange rate"):
        book.rate("CHF", "CNY")


def test_own_entries_lie_over_ours(tmp_path: Path) -> None:
    own = {
        "date": "2027-02-03",
        "machines": {"rack": {
            "label": {"zh": "机架", "en": "rack"}, "cores": 64, "memory": "256GiB",
            "price": {"low": 3, "typical": 4, "high": 5, "provenance": "quoted", "source": "offer 77"},
            "speed": {"low": 1, "typical": 1, "high": 1, "source": "same generation"},
        }},
    }  # fmt: skip
    (tmp_path / "prices.yaml").write_text(yaml.safe_dump(own, allow_unicode=True), encoding="utf-8")
    book = load_book("prices.yaml", tmp_path)
    assert book.date == "2027-02-03"
    assert book.machine("rack").memory == 256 * 2**30
    assert book.machine("rack").price.provenance == "quoted"
    assert book.machine("cloud-2c") == default_book().machine("cloud-2c")
    assert load_book(None) is default_book()


def test_all_mistakes_are_listed_at_once(tmp_path: Path) -> None:
    wrong = """
machines:
  rack: {cores: 0, memory: lots, price: {low: 3, typical: 2, high: 5, source: x}}
tokens: {m: {input: {low: 1, typical: 1, high: 1}}}
"""
    (tmp_path / "prices.yaml").write_text(wrong, encoding="utf-8")
    with pytest.raises(SpecError) as caught:
        load_book(tmp_path / "prices.yaml")
    text = str(caught.value)
    assert len(caught.value.problems) >= 5
    for place in (
        "machines.rack.cores",
        "machines.rack.memory",
        "machines.rack.price",
        "machines.rack.label",
        "tokens.m.output",
    ):
        assert place in text
    assert caught.value.exit_code == 2


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("- a\n- b\n", "is a mapping"),
        ("a: [1, 2", "cannot be read"),
        ("machines: 7", "mapping of names"),
        ("currency: USD", "written in our book"),
    ],
)
def test_what_is_no_price_book_is_refused(tmp_path: Path, content: str, words: str) -> None:
    (tmp_path / "prices.yaml").write_text(content, encoding="utf-8")
    with pytest.raises(SpecError, match=words):
        load_book("prices.yaml", tmp_path)


def test_missing_file_and_unknown_machine_are_said(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match="cannot be read"):
        load_book("nowhere.yaml", tmp_path)
    with pytest.raises(UserError, match="no such machine"):
        default_book().machine("mainframe")


def test_local_takes_the_size_of_the_machine_that_measured() -> None:
    book = default_book().with_local(2, 4e9)
    assert (book.machine("local").cores, book.machine("local").memory) == (2, 4e9)
    assert default_book().machine("local").cores != 2
