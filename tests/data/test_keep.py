"""Frozen data kept beside a study: prepared once, found again by content, checked against the specification each time."""

from __future__ import annotations

from pathlib import Path

import pytest

from bakeoff.data.keep import freeze
from bakeoff.schema import DataError
from tests.data.making import reviews, spec, write


def test_the_second_time_the_same_data_are_found(tmp_path: Path) -> None:
    write(tmp_path / "rows.csv", reviews(200))
    first = freeze(spec(), tmp_path, tmp_path / "kept")
    again = freeze(spec(more="budget: {time: 1h}"), tmp_path, tmp_path / "kept")
    assert again.fingerprint == first.fingerprint
    assert again.profile == first.profile
    assert len(list((tmp_path / "kept").iterdir())) == 1


def test_changed_data_or_structure_are_prepared_again(tmp_path: Path) -> None:
    write(tmp_path / "rows.csv", reviews(200))
    first = freeze(spec(), tmp_path, tmp_path / "kept")
    assert freeze(spec(more="seed: 1"), tmp_path, tmp_path / "kept").fingerprint != first.fingerprint
    write(tmp_path / "rows.csv", reviews(200, seed=1))
    assert freeze(spec(), tmp_path, tmp_path / "kept").fingerprint != first.fingerprint


def test_wrong_label_names_are_noticed_on_kept_data_too(tmp_path: Path) -> None:
    write(tmp_path / "rows.csv", reviews(200))
    freeze(spec(), tmp_path, tmp_path / "kept")
    with pytest.raises(DataError, match=r"value\.errors: no row has this label"):
        freeze(spec(more="value: {errors: {neg->positive: 1}}"), tmp_path, tmp_path / "kept")


def test_without_a_folder_nothing_is_kept_or_estimated(tmp_path: Path) -> None:
    write(tmp_path / "rows.csv", reviews(200))
    assert freeze(spec(), tmp_path, None).profile.noise_ceiling is None
    assert {path.name for path in tmp_path.iterdir()} == {"rows.csv"}


def test_a_missing_file_is_a_users_mistake(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no such"):
        freeze(spec(), tmp_path, tmp_path / "kept")
