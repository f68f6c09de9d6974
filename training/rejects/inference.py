"""Reject inference: how applications that an older policy refused may take part in training, without an outcome.

Pure functions: applications and beliefs about them in, rows with labels and weights out. Whether it helps is another
question (`training.rejects.check`), and mostly it does not: what was never observed can't be made up from the observed
(Hand & Henley 1993; Crook & Banasik 2004).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from configs.validation import RejectMethod
from training.evidence.calibration import fit_platt
from training.folds import Rows, stratified_folds
from training.learners.choice import learner
from training.learners.protocol import Array, Column, Sample

Margin = Callable[[Array], Array]
"""Encoded rows [n, f] -> log-odds [n]."""
Fit = Callable[[Array, Array, Array], Margin]
"""(X [n, f], y [n] of 1 and 0, weight [n]) -> the fitted margin."""

CROSS = 3
"""Folds in which beliefs about accepted rows are cross-fitted: no row tells its own outcome."""
BANDS = 10
LEAST_IN_BAND = 30
"""Accepted rows from which a band's own bad rate is taken; below, the mean of the predictions."""
MOST_WEIGHT = 10.0
"""Applications that one accepted row stands for at most: beyond, a handful of rows would decide."""
CHOICE = dict(learner("lightgbm").default) | {"trees": 100}


@dataclass(frozen=True)
class Applicants:
    """accepted: X [a, f] with outcomes y [a] of 1 (bad) and 0; refused: X [r, f]. weight: of both, [a + r]; None: 1."""

    accepted: Array
    y: Array
    refused: Array
    weight: Array | None = None

    @cached_property
    def every(self) -> Array:
        """Accepted rows, then refused ones, [a + r, f]."""
        return np.vstack([self.accepted, self.refused])

    def hiding(self, rows: Rows, hidden: NDArray[np.bool_]) -> Applicants:
        """Only the accepted `rows`; where `hidden`, as if they had been refused, in place of the refused ones."""
        left, gone = rows[~hidden], rows[hidden]
        weight = None if self.weight is None else self.weight[np.concatenate([left, gone])]
        return Applicants(self.accepted[left], self.y[left], self.accepted[gone], weight)


@dataclass(frozen=True)
class Beliefs:
    """Calibrated probabilities of being bad, and of being refused: of accepted rows (out of fold), then refused ones.

    Both [a + r].
    """

    bad: Array
    refused: Array


@dataclass(frozen=True)
class Augmented:
    """What to fit on: rows (positions in `Applicants.every`, maybe twice), their labels and weights, [m]."""

    rows: Rows
    y: Array
    weight: Array

    def fitted(self, applicants: Applicants, fit: Fit) -> Margin:
        """Fit on it; the applicants' own weights multiply."""
        own = 1.0 if applicants.weight is None else applicants.weight[self.rows]
        return fit(applicants.every[self.rows], self.y, self.weight * own)


def beliefs(applicants: Applicants, fit: Fit, *, choice: Fit, seed: int) -> Beliefs:
    """What the accepted outcomes say about all (by `fit`), and who is refused (by `choice`), each calibrated.

    About rows that were fitted on, cross-fitted; about others, the mean of the fits.
    """
    a, r = len(applicants.accepted), len(applicants.refused)
    bad = cross_fitted(applicants.accepted, applicants.y, applicants.refused, fit, seed=seed)
    gone = np.repeat([0.0, 1.0], [a, r])
    return Beliefs(bad, cross_fitted(applicants.every, gone, applicants.every[:0], choice, seed=seed))


def cross_fitted(X: Array, y: Array, others: Array, fit: Fit, *, seed: int) -> Array:
    """Calibrated probabilities of X's rows out of fold, and of the other rows, [n + m]."""
    folds = stratified_folds(y, folds=CROSS, seed=seed)
    own, beyond = np.empty(len(y)), np.zeros(len(others))
    for fold in folds:
        margin = fit(X[fold.train], y[fold.train], np.ones(len(fold.train)))
        own[fold.valid] = margin(X[fold.valid])
        beyond += margin(others) / CROSS if len(others) else 0.0
    return fit_platt(own, y).probability(np.concatenate([own, beyond]))


def observed(applicants: Applicants) -> Augmented:
    """Accepted rows only: no inference."""
    rows = np.arange(len(applicants.y))
    return Augmented(rows, applicants.y, np.ones(len(rows)))


def infer(
    method: RejectMethod, applicants: Applicants, believed: Beliefs, *, seed: int, uplift: float = 1.0
) -> Augmented:
    """Rows, labels and weights under one method. `uplift` is read by parcelling only."""
    if method == "fuzzy":
        return fuzzy(applicants, believed)
    if method == "parcelling":
        return parcelling(applicants, believed, seed=seed, uplift=uplift)
    return reweighting(applicants, believed)


def fuzzy(applicants: Applicants, believed: Beliefs) -> Augmented:
    """Each refused row twice: bad with the weight of its probability, and good with the rest (Siddiqi 2006)."""
    known, bad = observed(applicants), believed.bad[len(applicants.y) :]
    rows = len(applicants.y) + np.arange(len(bad))
    return Augmented(
        np.concatenate([known.rows, rows, rows]),
        np.concatenate([known.y, np.ones(len(bad)), np.zeros(len(bad))]),
        np.concatenate([known.weight, bad, 1 - bad]),
    )


def parcelling(applicants: Applicants, believed: Beliefs, *, seed: int, uplift: float) -> Augmented:
    """Refused rows of a score band are drawn bad as often as its accepted ones, times `uplift` (Siddiqi 2006).

    Bands hold equally many applications. The uplift, at most up to all bad, is an assumption: nothing observed tells
    it, since outcomes are hidden by what is visible and refusals may not have been.
    """
    a, generator = len(applicants.y), np.random.default_rng(seed)
    place, label = _bands(believed.bad), np.zeros(len(applicants.refused))
    for band in range(int(place.max(initial=0)) + 1):
        inside, rows = place[:a] == band, np.flatnonzero(place[a:] == band)
        rate = applicants.y[inside].mean() if inside.sum() >= LEAST_IN_BAND else believed.bad[place == band].mean()
        bads = round(min(1.0, uplift * float(rate)) * len(rows))
        label[generator.permutation(rows)[:bads]] = 1.0
    known = observed(applicants)
    rows = np.arange(a + len(label))
    return Augmented(rows, np.concatenate([known.y, label]), np.ones(len(rows)))


def reweighting(applicants: Applicants, believed: Beliefs) -> Augmented:
    """Accepted rows stand for the refused ones that looked like them: (accepted + refused) / accepted by band.

    Bands of the probability of refusal (augmentation: Hsia 1978; Crook & Banasik 2004), hence the likeliest refused
    weigh most: a row stands for `MOST_WEIGHT` applications at most. A band without accepted rows is joined to the next
    lower one. At last the weights are scaled to mean 1, so that regularization means the same as without them.
    """
    a, place = len(applicants.y), _bands(believed.refused)
    accepted, every = (np.bincount(part, minlength=place.max() + 1) for part in (place[:a], place))
    home = np.maximum.accumulate(np.where(accepted > 0, np.arange(len(accepted)), 0))
    home = np.maximum(home, np.flatnonzero(accepted > 0)[0])
    joined = np.bincount(home, weights=every, minlength=len(accepted))
    weight = np.minimum(joined[place[:a]] / accepted[place[:a]], MOST_WEIGHT)
    return replace(observed(applicants), weight=weight / weight.mean())


def _bands(probability: Array) -> NDArray[np.int64]:
    """Band of each row, ascending: `BANDS` with equally many rows, fewer where probabilities tie."""
    edges = np.unique(np.quantile(probability, np.arange(1, BANDS) / BANDS))
    place = np.searchsorted(edges, probability, side="right")
    return np.unique(place, return_inverse=True)[1].reshape(-1).astype(np.int64)


def choice_fit(columns: Sequence[Column], *, seed: int, threads: int = 1) -> Fit:
    """How to learn an older policy's choice: LightGBM without the monotone directions, which are about defaults."""
    free = tuple(replace(column, direction=0) for column in columns)

    def fit(X: Array, y: Array, weight: Array) -> Margin:  # noqa: ARG001  # every refusal counts alike
        return learner("lightgbm").fit(Sample(X, y, free), CHOICE, seed=seed, threads=threads).margin

    return fit
