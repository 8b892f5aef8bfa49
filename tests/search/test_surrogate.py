"""What is believed of arms: exact where it can be checked, honest where nothing was seen, unmoved by order."""

from __future__ import annotations

import numpy as np
import pytest

from bakeoff.search.surrogate import Sights, Spreads, believe, field_of, rise, wobble

FAMILIES = ["linear"] * 4 + ["boosting"] * 3 + ["baseline"]
PARAMS = [{"C": c, "units": "char"} for c in (0.1, 1, 10, 100)] + [{"depth": d} for d in (2, 4, 8)] + [{}]
TRAINS = [True] * 8


def field(rows: float = 6000.0):
    return field_of(FAMILIES, PARAMS, TRAINS, rows)


def sights(*seen: tuple[int, float, float], noise: float = 1e-5) -> Sights:
    arm, share, score = (np.array(column) for column in zip(*seen, strict=True))
    return Sights(arm.astype(np.int64), share.astype(float), score.astype(float), np.full(len(seen), noise))


def test_settings_that_are_near_are_alike_and_families_are_not() -> None:
    alike = field().alike
    assert alike[0, 1] > alike[0, 2] > alike[0, 3] > 0
    assert not alike[:4, 4:].any()
    assert np.allclose(np.diag(alike), 1.0)


def test_the_posterior_is_that_of_the_textbook_formula() -> None:
    world, spreads = field(), Spreads()
    seen = sights((0, 0.04, 0.71), (0, 1.0, 0.84), (4, 0.33, 0.80))
    found = believe(world, seen, spreads)
    h = rise(seen.share, spreads.exponent)
    family = world.family[:, None] == world.family[None, :]
    serious = world.serious[:, None] == world.serious[None, :]
    level = (
        spreads.level**2 * serious + spreads.family**2 * family + spreads.setting**2 * world.alike + spreads.own**2 * np.eye(8)
    )  # fmt: skip
    slope = spreads.slope**2 * serious + spreads.slope_family**2 * family + spreads.slope_setting**2 * world.alike
    at = seen.arm
    part = np.outer(h > 0, h > 0)
    jump = spreads.jump**2 * family[np.ix_(at, at)] + spreads.jump_own**2 * np.eye(3)
    among = level[np.ix_(at, at)] + np.outer(h, h) * slope[np.ix_(at, at)] + part * jump
    among += np.diag(seen.noise + wobble(world, spreads, at, seen.share) + 1e-9)
    cross = level[:, at]
    gain = cross @ np.linalg.inv(among)
    assert found.mean == pytest.approx(0.85 + gain @ (seen.score - (0.85 - 0.04 * h)))
    assert found.covariance(np.arange(8)) == pytest.approx(level - gain @ cross.T)


def test_a_look_in_full_leaves_little_doubt_and_a_look_in_part_leaves_much() -> None:
    full = believe(field(), sights((0, 1.0, 0.84)), Spreads())
    part = believe(field(), sights((0, 0.04, 0.70)), Spreads())
    assert np.sqrt(full.variance[0]) < 0.005
    assert np.sqrt(part.variance[0]) > 0.05
    assert full.variance[1] < full.variance[4], "a relative says more than a stranger"


def test_how_far_a_do_nothing_baseline_gets_says_nothing_of_the_others() -> None:
    before, after = (
        believe(field(), sights((0, 1.0, 0.8)), Spreads()),
        believe(field(), sights((0, 1.0, 0.8), (7, 1.0, 0.3)), Spreads()),
    )
    assert after.mean[:7] == pytest.approx(before.mean[:7])


def test_what_a_look_would_tell_is_what_it_then_tells() -> None:
    """The variance foreseen after a look equals the variance once the look was taken."""
    world, spreads = field(), Spreads()
    seen = sights((0, 0.04, 0.71), (5, 0.11, 0.80))
    now = believe(world, seen, spreads)
    arms, at, share = np.arange(8), np.array([1]), np.array([1.0])
    cross, variance = now.foresee(arms, at, share)
    expected = now.variance - cross[:, 0] ** 2 / (variance[0] + 1e-5 + 1e-9)
    more = Sights(
        np.append(seen.arm, 1), np.append(seen.share, 1.0), np.append(seen.score, 0.9), np.append(seen.noise, 1e-5)
    )
    assert believe(world, more, spreads).variance == pytest.approx(expected, rel=1e-6, abs=1e-10)


def test_order_of_what_was_seen_changes_nothing() -> None:
    seen = [(0, 0.04, 0.71), (5, 0.11, 0.80), (2, 0.33, 0.78), (6, 1.0, 0.83), (1, 0.04, 0.70)]
    one, other = believe(field(), sights(*seen)), believe(field(), sights(*reversed(seen)))
    assert one.mean == pytest.approx(other.mean)
    assert one.spreads == other.spreads


def test_how_much_settings_differ_is_learnt_from_the_familys_own_looks() -> None:
    """One family whose settings hardly differ is believed to; the other, looked at once, keeps the wide belief."""
    many = [{"C": float(c)} for c in range(12)]
    world = field_of(["linear"] * 12 + ["boosting"] * 12, many * 2, [True] * 24, 6000.0)
    rng = np.random.default_rng(0)

    def spread(differ: float) -> tuple[float, float]:
        seen = [(arm, 1.0, 0.8 + differ * rng.standard_normal()) for arm in range(11)] + [(12, 1.0, 0.8)]
        found = believe(world, sights(*seen))
        return float(found.variance[11]), float(found.variance[23])

    narrow, wide = spread(0.0005), spread(0.06)
    assert narrow[0] < 0.5 * narrow[1], "the family that was looked at"
    assert wide[0] > narrow[0]
    assert narrow[1] == pytest.approx(wide[1], rel=0.2)


def test_a_power_law_is_followed_to_its_end() -> None:
    """Three points of an exact curve of one arm: the end is predicted within the stated spread, and not for sure."""
    truth = {share: 0.86 - 0.03 * (share**-0.5 - 1) for share in (0.04, 0.11, 0.33)}
    found = believe(field(rows=60_000), sights(*[(0, share, score) for share, score in truth.items()], noise=1e-6))
    spread = float(np.sqrt(found.variance[0]))
    assert abs(found.mean[0] - 0.86) < 2.5 * spread
    assert 0.001 < spread < 0.03
