"""What is believed of every arm, judged or not: one Gaussian model over families, settings and training sizes.

The score of arm a trained on the share s of the rows is

    y(a, s) = F(a) - B(a) · h(s) + error,      h(s) = s^-c - 1,

a power law in the training size (Hestness et al. 2017; Viering and Loog 2023) whose end point F(a) is the score at the full share. F and B
are Gaussian with a part that is common to all, a part of the family, and a part of the setting that is alike for settings near each
other (a Gaussian process; Rasmussen and Williams 2006), so that one look at an arm tells something about its relatives, and an arm
that was never looked at has an honest, wide belief. Because y is linear in F and B, everything is exact linear algebra. The exponent c
and the size of the luck of which rows were in a training share are chosen by marginal likelihood from a short list; how much the
settings of a family differ is learnt from that family's own looks. No curve is trusted to its end: what a family does at the full share
may differ from what its curve says by a *jump*, which only a look at the full share can tell.

Scores are compared on the same rows. The error of a look is therefore the part that is its own, not what all arms share: half the variance
of its difference to the leader, row by row, plus the variance between training seeds.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Spreads:
    """Standard deviations of the belief before anything is seen, in units of the metric, and the exponent of the learning curve."""

    level: float = 0.30
    family: float = 0.05
    setting: float = 0.02
    shared: float = 0.008
    own: float = 0.006
    slope: float = 0.03
    slope_family: float = 0.035
    slope_setting: float = 0.006
    jump: float = 0.012
    jump_own: float = 0.004
    wobble: float = 0.4
    length: float = 0.8
    exponent: float = 0.5


CHOICES = tuple((luck, exponent) for luck in (0.5, 1.0, 2.0) for exponent in (0.25, 0.5, 0.8))
"""Factors of the luck of a training share, and exponents, between which the marginal likelihood chooses."""
_KINDS = 4
"""Values a setting may have at most to count as a choice that means the same in every family."""
_DOUBT = 2.0
"""Arms' worth of the shipped guess in how much the settings of a family differ."""
_WIDTHS = (0.1, 3.0)
_TAIL = 2.5
"""Standard deviations from what all other looks say, beyond which a look is not taken at its word."""
_FIT = 160
"""Looks the fit is made on at most, those at the largest shares."""
_START = 0.85
_SLOPE = 0.04
_ENOUGH = 4
"""Looks below which the spreads stay as shipped: a likelihood over fewer says nothing."""


@dataclass(frozen=True)
class Field:
    """The arms as the belief sees them.

    Args:
        family: family index of each arm (A,).
        alike: similarity of settings (A, A), 1 on the diagonal, 0 between families.
        trains: whether more rows change the arm (A,).
        serious: whether the arm learns anything at all (A,): how far a do-nothing baseline gets says nothing about the others.
        rows: training rows at the full share (A,).
        common: number of settings with the same name and value that two arms share (A, A), of names that several families know: that
            class weights help one family is news about the others.
        width: factor on how much arms differ within their families (A,), None for 1.

    """

    family: NDArray[np.int64]
    alike: Array
    trains: NDArray[np.bool_]
    serious: NDArray[np.bool_]
    rows: Array
    common: Array
    width: Array | None = None

    @property
    def size(self) -> int:
        """Number of arms."""
        return int(self.family.size)

    def widened(self, width: Array) -> Field:
        """Return the field with how much arms differ within their families, times ``width`` (A,)."""
        return replace(self, width=width)

    def scale(self, ours: NDArray[np.int64], theirs: NDArray[np.int64]) -> Array:
        """Return the factor (n, m) on covariances within families."""
        width = np.ones(self.size) if self.width is None else self.width
        found: Array = width[ours][:, None] * width[theirs][None, :]
        return found


def field_of(
    families: Sequence[str],
    params: Sequence[Mapping[str, Any]],
    trains: Sequence[bool],
    rows: float | Array,
    length: float = Spreads.length,
) -> Field:
    """Return the arms' families and how alike their settings are: exp(-d²/2l²) over settings scaled to 0..1 within the family."""
    names = {name: place for place, name in enumerate(dict.fromkeys(families))}
    family = np.array([names[name] for name in families], dtype=np.int64)
    alike = np.zeros((len(families), len(families)))
    for place in names.values():
        mine = np.flatnonzero(family == place)
        table = _features([params[int(index)] for index in mine])
        distance = ((table[:, None, :] - table[None, :, :]) ** 2).sum(axis=2)
        alike[np.ix_(mine, mine)] = np.exp(-distance / (2.0 * length**2))
    serious = np.array([not name.startswith("baseline") for name in families], dtype=np.bool_)
    many = np.broadcast_to(np.asarray(rows, dtype=np.float64), family.shape)
    return Field(family, alike, np.asarray(trains, dtype=np.bool_), serious, many, _common(families, params))


def _common(families: Sequence[str], params: Sequence[Mapping[str, Any]]) -> Array:
    found = np.zeros((len(families), len(families)))
    for name in sorted({name for one in params for name in one}):
        values = [repr(one[name]) if name in one else None for one in params]
        known = {value for value in values if value is not None}
        users = {family for family, value in zip(families, values, strict=True) if value is not None}
        if len(users) < 2 or not 2 <= len(known) <= _KINDS:
            continue
        for value in known:
            has = np.array([mine == value for mine in values], dtype=np.float64)
            found += np.outer(has, has)
    return found


def _features(params: Sequence[Mapping[str, Any]]) -> Array:
    """Numbers by their rank among the values that occur, scaled to 0..1; everything else one column a value."""
    columns: list[Array] = []
    for name in sorted({name for one in params for name in one}):
        values = [one.get(name) for one in params]
        if all(isinstance(value, (int, float)) and not isinstance(value, bool) for value in values):
            kinds = sorted({float(value) for value in values if value is not None})
            if len(kinds) > 1:
                columns.append(np.array([kinds.index(float(value or 0)) / (len(kinds) - 1) for value in values]))
            continue
        words = [repr(value) for value in values]
        kinds_ = sorted(set(words))
        if len(kinds_) > 1:
            columns.extend(np.array([np.sqrt(0.5) * (word == kind) for word in words]) for kind in kinds_)
    return np.stack(columns, axis=1) if columns else np.zeros((len(params), 1))


@dataclass(frozen=True)
class Sights:
    """What was seen: one entry per arm and training share, seeds averaged.

    Args:
        arm: arm index (n,).
        share: training share (n,).
        score: mean score (n,).
        noise: variance of its own error (n,).

    """

    arm: NDArray[np.int64]
    share: Array
    score: Array
    noise: Array


@dataclass(frozen=True)
class Belief:
    """Posterior of F, and what is needed to say what another look would tell.

    ``mean``, ``variance`` (A,) of the score at the full share.
    """

    field: Field
    spreads: Spreads
    sights: Sights
    mean: Array
    variance: Array
    _half: Array  # L⁻¹ K(sights, F) (n, A)
    _root: Array  # Cholesky factor of the sights' covariance

    def covariance(self, arms: NDArray[np.int64]) -> Array:
        """Return the posterior covariance (k, k) of F of some arms."""
        half = self._half[:, arms]
        found: Array = _prior_full(self.field, self.spreads, arms, arms) - half.T @ half
        return found

    def foresee(self, arms: NDArray[np.int64], at: NDArray[np.int64], shares: Array) -> tuple[Array, Array]:
        """Return covariance (k, m) of F of ``arms`` with would-be looks at ``at`` (m,) trained on ``shares`` (m,), and their variances (m,)."""
        h = rise(shares, self.spreads.exponent) * self.field.trains[at]
        cross = _prior_cross(self.field, self.spreads, arms, at)
        if not self.sights.arm.size:
            return cross, _prior_look_variance(self.field, self.spreads, at, h)
        looks = _between(self.field, self.spreads, self.sights.arm, _rises(self), at, h)
        half = np.linalg.solve(self._root, looks)
        return cross - self._half[:, arms].T @ half, _prior_look_variance(self.field, self.spreads, at, h) - (
            half**2
        ).sum(axis=0)


def rise(shares: Array, exponent: float) -> Array:
    """Return h(s) = s^-c - 1, zero at the full share."""
    return np.power(np.maximum(shares, 1e-4), -exponent) - 1.0


def wobble(field: Field, spreads: Spreads, arms: NDArray[np.int64], shares: Array) -> Array:
    """Return the variance (n,) of a score for the luck of which rows were in the training share; nothing is left of it at the full share.

    It falls as one over the training rows, as the variance of any estimate does.
    """
    drawn = np.maximum(shares * field.rows[arms], 1.0)
    found: Array = spreads.wobble**2 * np.maximum(1.0 - shares, 0.0) / drawn * field.trains[arms]
    return found


def believe(field: Field, sights: Sights, spreads: Spreads | None = None) -> Belief:
    """Return what follows for every arm from what was seen; the spreads are fitted when none are given."""
    chosen = spreads or _fitted(field, sights)
    field = field.widened(_widths(field, chosen, sights))
    sights = sights if spreads is not None else calmed(field, chosen, sights)
    base = np.full(field.size, _START)
    everyone = np.arange(field.size)
    prior = _alone(field, chosen, everyone)
    if not sights.arm.size:
        empty = np.zeros((0, field.size))
        return Belief(field, chosen, sights, base, prior, empty, np.zeros((0, 0)))
    h = rise(sights.share, chosen.exponent) * field.trains[sights.arm]
    root, centred = _factor(field, chosen, sights, h)
    cross = _prior_cross(field, chosen, everyone, sights.arm)
    half = np.asarray(np.linalg.solve(root, cross.T), dtype=np.float64)
    mean: Array = base + half.T @ np.linalg.solve(root, centred)
    return Belief(field, chosen, sights, mean, np.maximum(prior - (half**2).sum(axis=0), 1e-12), half, root)


def calmed(field: Field, spreads: Spreads, sights: Sights) -> Sights:
    """Return the looks with the error of those that nothing else explains made wide: a heavy tail, by one step of reweighting.

    A look is held against what all the others say of it. One broken training must not bend the curves of a whole study.
    """
    if sights.arm.size < _ENOUGH:
        return sights
    h = rise(sights.share, spreads.exponent) * field.trains[sights.arm]
    root, centred = _factor(field, spreads, sights, h)
    inverse = np.linalg.inv(root)
    precision = inverse.T @ inverse
    alone = np.diag(precision)
    surprise = (precision @ centred) / np.sqrt(alone)
    wide = np.maximum(np.abs(surprise) / _TAIL, 1.0)
    found: Array = sights.noise + (wide**2 - 1.0) / alone
    return replace(sights, noise=found)


def _rises(belief: Belief) -> Array:
    return rise(belief.sights.share, belief.spreads.exponent) * belief.field.trains[belief.sights.arm]


def _factor(field: Field, spreads: Spreads, sights: Sights, h: Array) -> tuple[Array, Array]:
    table = _between(field, spreads, sights.arm, h, sights.arm, h)
    table[np.diag_indices_from(table)] += sights.noise + wobble(field, spreads, sights.arm, sights.share) + 1e-9
    centred = sights.score - (_START - _SLOPE * h)
    return np.asarray(np.linalg.cholesky(table), dtype=np.float64), centred


def _fitted(field: Field, sights: Sights) -> Spreads:
    """Return the spreads and exponent under which what was seen is most likely, of ``CHOICES``; a weak prior prefers the shipped ones."""
    if len(sights.arm) < _ENOUGH:
        return Spreads()
    if sights.arm.size > _FIT:
        kept = np.sort(np.argsort(-sights.share, kind="stable")[:_FIT])
        sights = Sights(sights.arm[kept], sights.share[kept], sights.score[kept], sights.noise[kept])
    best, most = Spreads(), -np.inf
    for luck, exponent in CHOICES:
        spreads = replace(Spreads(), wobble=luck * Spreads.wobble, exponent=exponent)
        h = rise(sights.share, exponent) * field.trains[sights.arm]
        root, centred = _factor(field.widened(_widths(field, spreads, sights)), spreads, sights, h)
        scaled = np.linalg.solve(root, centred)
        likely = -0.5 * float(scaled @ scaled) - float(np.log(np.diag(root)).sum()) - 0.5 * np.log(luck) ** 2
        if likely > most:
            best, most = spreads, likely
    return best


def _widths(field: Field, spreads: Spreads, sights: Sights) -> Array:
    """Return the factor (A,) on how much arms of a family differ: what its own looks say, shrunk to 1 (inverse-gamma prior).

    Each family by itself: that the settings of one hardly differ says nothing about the settings of another.
    """
    found = np.ones(field.size)
    usual = spreads.setting**2 + spreads.own**2
    luck = sights.noise + wobble(field, spreads, sights.arm, sights.share)
    families = field.family[sights.arm]
    for family in np.unique(families):
        total, freedom, expected = 0.0, 0, 0.0
        mine = families == family
        for share in np.unique(sights.share[mine]):
            group = mine & (sights.share == share)
            count = int(group.sum())
            if count > 1:
                total += float(((sights.score[group] - sights.score[group].mean()) ** 2).sum())
                expected += float(luck[group].mean()) * (count - 1)
                freedom += count - 1
        real = max(total - expected, 0.0)
        found[field.family == family] = np.sqrt((_DOUBT * usual + real) / ((_DOUBT + freedom) * usual))
    return np.clip(found, *_WIDTHS)


def _same(field: Field, ours: NDArray[np.int64], theirs: NDArray[np.int64]) -> tuple[Array, Array, Array, Array]:
    common = (field.serious[ours][:, None] == field.serious[theirs][None, :]).astype(np.float64)
    family = (field.family[ours][:, None] == field.family[theirs][None, :]).astype(np.float64)
    scale = field.scale(ours, theirs)
    own = (ours[:, None] == theirs[None, :]).astype(np.float64)
    return common, family, scale * field.alike[np.ix_(ours, theirs)], scale * own


def _known(field: Field, spreads: Spreads, ours: NDArray[np.int64], theirs: NDArray[np.int64]) -> Array:
    found: Array = spreads.shared**2 * field.common[np.ix_(ours, theirs)]
    return found


def _full(spreads: Spreads, common: Array, family: Array, alike: Array, own: Array) -> Array:
    found: Array = (
        spreads.level**2 * common + spreads.family**2 * family + spreads.setting**2 * alike + spreads.own**2 * own
    )
    return found


def _prior_full(field: Field, spreads: Spreads, ours: NDArray[np.int64], theirs: NDArray[np.int64]) -> Array:
    return _full(spreads, *_same(field, ours, theirs)) + _known(field, spreads, ours, theirs)


def _prior_cross(field: Field, spreads: Spreads, arms: NDArray[np.int64], at: NDArray[np.int64]) -> Array:
    """Covariance (k, m) of F of ``arms`` with looks at ``at``: F and B are independent before anything is seen."""
    return _prior_full(field, spreads, arms, at)


def _alone(field: Field, spreads: Spreads, arms: NDArray[np.int64]) -> Array:
    """Variance (n,) of F of each arm before anything is seen."""
    width = np.ones(arms.size) if field.width is None else field.width[arms]
    found: Array = spreads.level**2 + spreads.family**2 + width**2 * (spreads.setting**2 + spreads.own**2)
    return found + spreads.shared**2 * np.diag(field.common)[arms]


def _prior_look_variance(field: Field, spreads: Spreads, at: NDArray[np.int64], h: Array) -> Array:
    width = np.ones(at.size) if field.width is None else field.width[at]
    slope = spreads.slope**2 + spreads.slope_family**2 + width**2 * spreads.slope_setting**2
    jump = (h > 0) * (spreads.jump**2 + spreads.jump_own**2)
    found: Array = _alone(field, spreads, at) + jump + h**2 * slope
    return found


def _between(
    field: Field, spreads: Spreads, ours: NDArray[np.int64], h: Array, theirs: NDArray[np.int64], other: Array
) -> Array:
    """Covariance (n, m) of looks at ``ours`` with looks at ``theirs``."""
    common, family, alike, own = _same(field, ours, theirs)
    slope = spreads.slope**2 * common + spreads.slope_family**2 * family + spreads.slope_setting**2 * alike
    full = _full(spreads, common, family, alike, own) + _known(field, spreads, ours, theirs)
    part = (h > 0)[:, None] & (other > 0)[None, :]
    full = full + part * (spreads.jump**2 * family + spreads.jump_own**2 * own)
    found: Array = full + h[:, None] * other[None, :] * slope
    return found
