"""The shipped recordings are whole and say what they are for; the format keeps what it is given and refuses what it cannot read."""

from __future__ import annotations

import dataclasses
import json
import zipfile
from pathlib import Path

import numpy as np
import pytest

from bakeoff.schema.errors import DataError
from bakeoff.search.table import Arm, Prefix, Table
from benchmarks.tables.recording import Chain, Data, Record, Study, grid, listed, order_of, record, table_of

_FOLDER = Path(__file__).parents[2] / "benchmarks" / "tables"
_NAMES = ("credit", "digits", "en-topics", "fashion", "thyroid", "zh-few", "zh-reviews")


@pytest.fixture(scope="module", params=_NAMES)
def shipped(request: pytest.FixtureRequest) -> Table:
    return Table.load(_FOLDER / f"{request.param}.table")


def quality(table: Table) -> np.ndarray:
    """Return accuracy or macro F1 (A, F, S), written without the product's own scoring."""
    right = table.predicted == table.actual
    if table.metric == "accuracy":
        return right.mean(axis=-1)
    scores = []
    for label in range(len(table.classes)):
        said, true = table.predicted == label, table.actual == label
        scores.append(2 * (said & true).sum(axis=-1) / np.maximum(1, said.sum(axis=-1) + true.sum()))
    return np.mean(scores, axis=0)


def cost(table: Table) -> np.ndarray:
    """Return CPU seconds of everything that was done with each arm (A,), with the shared step it stands on."""
    shared = np.array([
        step.fixed + step.per_row * (table.train + table.rows) if (step := table.prefixes.get(arm.prefix or "")) else 0.0 for arm in table.arms
    ])  # fmt: skip
    once = np.array([1 if not arm.trains else table.build[0].size for arm in table.arms])
    return table.build.mean(axis=(1, 2)) * once + table.predict * table.rows * once + shared


def winner_rank(table: Table) -> int:
    """Return the place of the true winner's family among the families by mean cost of an arm, 0 the dearest."""
    best = table.arms[int(quality(table)[:, -1].mean(axis=-1).argmax())].family
    families = sorted({arm.family for arm in table.arms})
    means = {name: cost(table)[[arm.family == name for arm in table.arms]].mean() for name in families}
    return sorted(families, key=lambda name: -means[name]).index(best)


def test_every_table_is_a_whole_study(shipped: Table) -> None:
    assert len(shipped.arms) >= 60
    assert len({arm.id for arm in shipped.arms}) == len(shipped.arms)
    assert shipped.seeds >= 3
    assert len(shipped.fractions) == 4
    assert shipped.fractions[-1] == 1.0
    assert shipped.known.all()
    assert shipped.actual.max() == len(shipped.classes) - 1
    assert shipped.predicted.max() < len(shipped.classes)


def test_costs_latencies_and_sizes_were_measured(shipped: Table) -> None:
    assert (shipped.build >= 0).all()
    assert (shipped.predict > 0).all()
    assert (shipped.latency > 0).all()
    assert (shipped.size > 0).all()
    assert {arm.prefix for arm in shipped.arms} - {None} <= set(shipped.prefixes)
    assert all(step.per_row > 0 for step in shipped.prefixes.values())


def test_the_figures_are_plausible(shipped: Table) -> None:
    found = quality(shipped)
    assert 0 < found.min() < found.max() < 1
    full = found[:, -1].mean(axis=-1)
    assert full.max() > full[shipped.index("baseline.majority")] + 0.1
    trained = [at for at, arm in enumerate(shipped.arms) if arm.trains and arm.family != "baseline"]
    assert found[trained, -1].mean() > found[trained, 0].mean() + 0.01, "more rows teach something"
    near = (full > full.max() - 0.02).sum()
    assert near >= 2, "a study without a rival teaches a search nothing"


def test_settings_of_a_family_have_the_same_names(shipped: Table) -> None:
    for family in {arm.family for arm in shipped.arms}:
        assert len({frozenset(arm.params) for arm in shipped.arms if arm.family == family}) == 1, family


def test_in_at_least_two_studies_a_search_that_only_avoids_cost_loses() -> None:
    ranks = {name: winner_rank(Table.load(_FOLDER / f"{name}.table")) for name in _NAMES}
    assert sum(rank <= 1 for rank in ranks.values()) >= 2, ranks


def test_the_tables_are_compact() -> None:
    sizes = {path.stem: path.stat().st_size for path in _FOLDER.glob("*.table")}
    assert set(_NAMES) <= set(sizes)
    assert sum(sizes.values()) < 20e6
    assert max(sizes.values()) <= 3e6


def small(classes: int = 3, share: float = 1.0) -> Table:
    random = np.random.default_rng(5)
    shape = (4, 2, 3)
    known = random.random(shape) < share
    return Table(
        name="small", task="text-classification", metric="accuracy", classes=tuple("abcdef"[:classes]), positive=1, train=90, fractions=(0.5, 1.0),
        arms=tuple(Arm(f"linear.{at}", "linear", {"C": at}, prefix="e5" if at else None, trains=at < 3) for at in range(4)),
        actual=random.integers(classes, size=41).astype(np.uint8),
        predicted=np.where(known[..., None], random.integers(classes, size=(*shape, 41)), 0).astype(np.uint8), known=known,
        build=np.where(known, random.random(shape), np.nan), predict=random.random(4), prefixes={"e5": Prefix(0.5, 0.01)},
        latency=random.random((4, 2)), size=random.random((4, 2)) * 1e6, machine="a test", notes={"source": "drawn"},
    )  # fmt: skip


@pytest.mark.parametrize("classes", [2, 3, 6])
@pytest.mark.parametrize("share", [1.0, 0.6])
def test_a_table_comes_back_as_it_was_written(tmp_path: Path, classes: int, share: float) -> None:
    table = small(classes, share)
    table.save(tmp_path / "one.table")
    back = Table.load(tmp_path / "one.table")
    for field in dataclasses.fields(Table):
        before, after = getattr(table, field.name), getattr(back, field.name)
        if not isinstance(before, np.ndarray):
            assert after == before, field.name
        elif before.dtype == np.float64:
            np.testing.assert_allclose(after, before, rtol=1e-6, err_msg=field.name)  # kept as 32-bit numbers
        else:
            np.testing.assert_array_equal(after, before, err_msg=field.name)
    table.save(tmp_path / "two.table")
    assert (tmp_path / "one.table").read_bytes() == (tmp_path / "two.table").read_bytes()


def test_what_is_no_table_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "broken.table"
    small().save(path)
    content = path.read_bytes()
    for broken in (b"", b"not a zip", content[: len(content) // 2], content[:200] + bytes(300) + content[500:]):
        path.write_bytes(broken)
        with pytest.raises(DataError, match="recorded table"):
            Table.load(path)
    with pytest.raises(DataError, match="recorded table"):
        Table.load(tmp_path / "missing.table")


def test_a_table_of_another_version_is_refused(tmp_path: Path) -> None:
    small().save(tmp_path / "one.table")
    with zipfile.ZipFile(tmp_path / "one.table") as old, zipfile.ZipFile(tmp_path / "two.table", "w") as new:
        for name in old.namelist():
            body = old.read(name)
            new.writestr(name, json.dumps({**json.loads(body), "version": 99}) if name == "meta.json" else body)
    with pytest.raises(DataError, match="another version"):
        Table.load(tmp_path / "two.table")


def test_arrays_that_do_not_fit_together_are_refused() -> None:
    with pytest.raises(DataError, match="do not fit together"):
        dataclasses.replace(small(), predict=np.zeros(7))


class Nearest:
    """Answers with the class whose mean is nearest; counts how often it was fitted."""

    fitted = 0

    def __init__(self, params: object, seed: int) -> None:
        del params, seed

    def fit(self, X: np.ndarray, y: np.ndarray) -> Nearest:
        Nearest.fitted += 1
        self.means = np.array(
            [X[y == label].mean(axis=0) if (y == label).any() else np.full(X.shape[1], np.inf) for label in (0, 1)]
        )
        return self

    def predict(self, X: np.ndarray) -> np.ndarray:
        return ((X[:, None] - self.means) ** 2).sum(axis=-1).argmin(axis=1)


class Doubled:
    """A transformer that counts how often it was fitted."""

    fitted = 0

    def __init__(self, params: object, seed: int) -> None:
        del params, seed

    def fit_transform(self, X: np.ndarray, y: np.ndarray) -> np.ndarray:
        del y
        Doubled.fitted += 1
        return self.transform(X)

    def transform(self, X: np.ndarray) -> np.ndarray:
        return 2 * X


def _study(recipes: tuple) -> tuple[Study, Data]:
    random = np.random.default_rng(1)
    labels = random.integers(2, size=300)
    rows = random.normal(size=(300, 4)) + labels[:, None]
    data = Data(labels, 200, {"rows": rows})
    return Study("tiny", "tabular-classification", "accuracy", ("no", "yes"), 200, lambda _: data, recipes), data


def test_recording_fits_every_fraction_with_every_seed_and_shares_what_is_shared() -> None:
    alike = grid("near", Nearest, first=Doubled, reads=("scale",), scale=[2], twin=[0, 1])
    study, data = _study(alike)
    Nearest.fitted = Doubled.fitted = 0
    records = {recipe.arm.id: record(study, recipe, data) for recipe in alike}
    cells = len(study.fractions) * 3 + 1  # and the probe
    assert (Nearest.fitted, Doubled.fitted) == (2 * cells, cells)
    first, second = records.values()
    np.testing.assert_array_equal(first.predicted, second.predicted)
    model = Nearest({}, 0).fit(data.views["rows"][order_of(2, 200)[:67]], data.labels[order_of(2, 200)[:67]])
    np.testing.assert_array_equal(first.predicted[2, 2], model.predict(data.views["rows"][200:]))


def test_an_arm_that_was_not_recorded_is_unknown_in_the_table() -> None:
    recipes = (
        *grid("near", Nearest, scale=[1]),
        *listed("chain", lambda *_: Chain([Doubled({}, 0), Nearest({}, 0)]), [{"scale": 2}]),
    )
    study, data = _study(recipes)
    table = table_of(study, data, {"near.1": record(study, recipes[0], data)}, {}, "a test")
    assert table.known.all(axis=(1, 2)).tolist() == [True, False]
    assert np.isnan(table.build[1]).all()


def test_an_arm_record_is_whole_or_absent(tmp_path: Path) -> None:
    recipes = grid("near", Nearest, scale=[1])
    study, data = _study(recipes)
    made = record(study, recipes[0], data)
    made.save(tmp_path / "near.npz")
    assert [path.name for path in tmp_path.iterdir()] == ["near.npz"]
    back = Record.load(tmp_path / "near.npz")
    np.testing.assert_array_equal(back.predicted, made.predicted)
    assert back.predict == made.predict
