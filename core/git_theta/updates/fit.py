"""Finds which bases, times which weights, add up to new numbers: by least squares on a sample.

What is found is a guess: rounding is noise to it. Whether a formula gives the bits is tried later.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from itertools import combinations, islice, product
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

MOST_BASES = 8
"""Most bases of a sum."""
LARGEST = 4
"""Largest weight, by its amount."""
PAIRS = 3
"""Pairs, of all that explain the sample, that are looked at."""

_CHOICES = 6  # plain numbers near a weight that are tried
_COMBINATIONS = 12
_BETTER = 0.8


class Guess(NamedTuple):
    """A sum that explains the sample."""

    bases: tuple[int, ...]
    weights: tuple[float, ...]


class _Fit(NamedTuple):
    weights: Array
    errors: Array
    """What the weights may be off by: standard errors."""
    noise: float
    """Root mean square of what is left."""


def guesses(new: Array, bases: Array, unit: float, tiny: float) -> Iterator[Guess]:
    """Sums of few bases that explain ``new`` up to rounding, those of the fewest bases first.

    Parameters
    ----------
    new
        A sample of numbers, all finite.
    bases
        The same numbers of each base: (base, number), all finite.
    unit
        Half the distance of 1 and the next number of the dtype.
    tiny
        The smallest positive number of the dtype.
    """
    # each number is divided by what its rounding is in proportion to
    size = np.abs(new) + np.abs(bases).max(0) + tiny / unit
    target, columns = new / size, bases / size
    limit = unit + 2.0**-44
    everything = _fit(columns, target)
    while everything.noise > limit:  # what no sum of all bases explains, none of some does
        kept = _explained(columns, target, everything)
        columns, target = columns[:, kept], target[kept]
        before, everything = everything.noise, _fit(columns, target)
        if everything.noise > before / 2:
            return
    count = len(columns)
    for number in range(count):
        yield from _snapped((number,), columns, target, limit)
    # where one base explains as much as rounding allows, others must explain more
    limit = min(limit, _BETTER * min(_fit(one[None], target).noise for one in columns))
    pairs = (
        (_fit(columns[list(pair)], target).noise, pair) for pair in combinations(range(count), 2)
    )
    for noise, pair in sorted(pairs)[:PAIRS]:
        if noise <= limit:
            yield from _snapped(pair, columns, target, limit)
    yield from _snapped(_needed(columns, target, limit, everything), columns, target, limit)


def _fit(columns: Array, target: Array) -> _Fit:
    """Least squares; the last column is told apart from the others' differences to it.

    Versions of one model are nearly the same: their differences are what tells them apart.
    """
    basis = _basis(columns)
    lengths = np.sqrt(np.einsum("ij,ij->i", basis, basis)) + 1e-300
    scaled = basis / lengths[:, None]
    gram = scaled @ scaled.T
    inverse = _inverse(gram)
    weights = inverse @ (scaled @ target)
    weights += inverse @ (scaled @ (target - weights @ scaled))  # what the first solution missed
    left = target - weights @ scaled
    noise = float(np.sqrt(np.mean(left * left)))
    errors = noise * np.sqrt(np.abs(np.diag(inverse))) / lengths
    return _Fit(weights / lengths, errors, noise)


def _inverse(gram: Array) -> Array:
    """The pseudoinverse of a small matrix, symmetric and without negative eigenvalues."""
    values, vectors = np.linalg.eigh(gram)
    kept = values > 1e-12 * values[-1]
    some = vectors[:, kept]
    inverse: Array = (some / values[kept]) @ some.T
    return inverse


def _basis(columns: Array) -> Array:
    return np.concatenate((columns[:-1] - columns[-1], columns[-1:]))


def _explained(columns: Array, target: Array, fit: _Fit) -> NDArray[np.intp]:
    """All numbers but the tenth that a fit explains worst: some may be of no sum at all."""
    left = np.abs(target - fit.weights @ _basis(columns))
    return np.argsort(left, kind="stable")[: len(target) * 9 // 10]


def _needed(columns: Array, target: Array, limit: float, fit: _Fit) -> tuple[int, ...]:
    """Bases that remain when those that are not missed are left out, one after another."""
    support = list(range(len(columns)))
    while len(support) > 2:
        weights = np.append(fit.weights[:-1], fit.weights[-1] - fit.weights[:-1].sum())
        errors = np.append(fit.errors[:-1], fit.errors[:-1].max())
        order = np.argsort(np.abs(weights) / (errors + 1e-300), kind="stable")
        for drop in order[:2].tolist():
            fewer = support[:drop] + support[drop + 1 :]
            found = _fit(columns[fewer], target)
            if found.noise <= limit:
                support, fit = fewer, found
                break
        else:
            break
    return tuple(support) if 2 < len(support) <= MOST_BASES else ()


def _snapped(
    support: tuple[int, ...], columns: Array, target: Array, limit: float
) -> Iterator[Guess]:
    """The plain numbers that the weights of a support may be."""
    if not support:
        return
    chosen = columns[list(support)]
    fit = _fit(chosen, target)
    if fit.noise > limit:
        return
    floor = 2 * limit  # constants are rounded as well
    tolerance = 5 * float(fit.errors[-1]) + floor
    total = _plain(float(fit.weights[-1]), tolerance)[0]
    if len(support) == 1:
        yield Guess(support, (total,))
        return
    again = _fit(
        np.concatenate((chosen[:-1] - chosen[-1], np.zeros_like(chosen[:1]))),
        target - total * chosen[-1],
    )
    choices = [
        _plain(float(weight), 5 * float(error) + floor)
        for weight, error in zip(again.weights[:-1], again.errors[:-1], strict=True)
    ]
    if len(support) > 2:
        choices = [some[:2] for some in choices]
    for weights in islice(product(*choices), _COMBINATIONS):
        last = total - sum(weights)
        all_weights = (*weights, _plain(last, 1e-9)[0])
        if all(all_weights):
            yield Guess(support, all_weights)


def _plain(weight: float, tolerance: float) -> list[float]:
    """Plain numbers within a tolerance of a weight, the plainest first; itself where none is."""
    numbers, plainness = _numbers()
    low, high = np.searchsorted(numbers, (weight - tolerance, weight + tolerance))
    near = sorted(range(int(low), int(high)), key=lambda at: (plainness[at], numbers[at]))
    return [float(numbers[at]) for at in near[:_CHOICES]] or [weight]


@cache
def _numbers() -> tuple[Array, list[int]]:
    """Fractions as people write them, ascending, and the denominator of each."""
    found: dict[float, int] = {}
    for denominator in (*range(1, 17), 20, 25, 32, 40, 50, 64, 100, 128):
        for number in range(-LARGEST * denominator, LARGEST * denominator + 1):
            # equal fractions are equal floats, and the first of them is in lowest terms
            found.setdefault(number / denominator, denominator)
    ascending = sorted(found)
    return np.array(ascending), [found[one] for one in ascending]
