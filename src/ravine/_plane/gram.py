"""Scalar products of positions, streamed in float64; and what a random walk of the same steps would give."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from ravine._progress import work

Vector = NDArray[np.float64]
Matrix = NDArray[np.float64]

BLOCK_NUMBERS = 1 << 20
"""Numbers of a block of positions in float64: 8 MB, so that a block is read once and stays in the cache."""


def blocks(runs: Sequence[NDArray[np.floating]], origin: Vector) -> Iterator[tuple[slice, Matrix]]:
    """Give all positions relative to an origin, in float64, some parameters at a time; memory-mapped ones stay on disk.

    Examples
    --------
    >>> run = np.arange(6.0).reshape(3, 2)
    >>> [block.tolist() for _, block in blocks([run], run[-1])]
    [[[-4.0, -4.0], [-2.0, -2.0], [0.0, 0.0]]]
    """
    rows, size = sum(map(len, runs)), len(origin)
    some = max(256, BLOCK_NUMBERS // rows)
    with work(size, "parameters") as advance:
        for begin in range(0, size, some):
            where = slice(begin, min(begin + some, size))
            block = np.empty((rows, where.stop - where.start))
            at = 0
            for run in runs:
                np.subtract(run[:, where], origin[where], out=block[at : at + len(run)])
                at += len(run)
            yield where, block
            advance(where.stop - where.start)


def gram_of(runs: Sequence[NDArray[np.floating]], origin: Vector) -> Matrix:
    """Return the scalar products of all positions relative to an origin.

    Examples
    --------
    >>> gram_of([np.array([[3.0, 4.0], [1.0, 0.0]])], np.zeros(2)).tolist()
    [[25.0, 3.0], [3.0, 1.0]]
    """
    rows = sum(map(len, runs))
    found = np.zeros((rows, rows))
    for _, block in blocks(runs, origin):
        found += block @ block.T
    return found


def combine(runs: Sequence[NDArray[np.floating]], origin: Vector, weights: Matrix) -> Matrix:
    """Return sums of positions relative to an origin, one for each row of weights."""
    found = np.empty((len(weights), len(origin)))
    for where, block in blocks(runs, origin):
        np.matmul(weights, block, out=found[:, where])
    return found


def centred(gram: Matrix) -> Matrix:
    """Return the scalar products relative to the mean.

    Examples
    --------
    >>> centred(np.array([[0.0, 0.0], [0.0, 4.0]])).tolist()
    [[1.0, -1.0], [-1.0, 1.0]]
    """
    row = gram.mean(axis=0)
    found: Matrix = gram - row - row[:, None] + row.mean()
    return found


def principal(gram: Matrix) -> tuple[Vector, Matrix]:
    """Return the eigenvalues of scalar products, the largest first and none below 0, and the eigenvectors."""
    values, vectors = np.linalg.eigh((gram + gram.T) / 2)
    return np.maximum(values[::-1], 0.0), vectors[:, ::-1]


def ends_weights(gram: Matrix) -> tuple[Matrix, Vector]:
    """Return the weights of two axes, of the first position and of most of what is left, and the share of each.

    Positions are relative to the last. The first axis leads from the last position to the first; the second takes most
    of the squared length that is left.
    """
    total = float(np.trace(gram))
    along = gram[:, 0] / gram[0, 0]  # of each position in lengths of the first axis
    left = gram - np.outer(along, along) * gram[0, 0]
    values, vectors = principal(left)
    first = np.zeros(len(gram))
    first[0] = 1 / np.sqrt(gram[0, 0])
    second = vectors[:, 0] - (vectors[:, 0] @ along) * np.eye(len(gram))[0]
    second = second / np.sqrt(max(values[0], np.finfo(float).tiny))
    shares = np.array([float((along**2).sum()) * gram[0, 0], float(values[0])])
    return np.stack([first, second]), shares / total


def walk_gram(lengths: Vector, recorded: NDArray[np.int64], momentum: float) -> Matrix:
    r"""Return the expected scalar products of an isotropic random walk at the recorded steps, relative to its start.

    Its updates have the scalar products :math:`s_i s_j \mu^{|i-j|}`, cumulated both ways: those of steps of lengths
    :math:`s` that each carry on a share :math:`\mu` of the last.

    Parameters
    ----------
    lengths
        Of every step.
    recorded
        Steps at which positions are looked at, from 0, ascending.
    momentum
        Share that is carried on.

    Examples
    --------
    >>> walk_gram(np.ones(3), np.arange(4), 0.0).tolist()  # each has gone as far as both have in common
    [[0.0, 0.0, 0.0, 0.0], [0.0, 1.0, 1.0, 1.0], [0.0, 1.0, 2.0, 2.0], [0.0, 1.0, 2.0, 3.0]]
    """
    carried, variance = np.zeros(len(lengths) + 1), np.zeros(len(lengths) + 1)
    for k, length in enumerate(lengths):  # scalar product of position k with the unit step k, and with itself
        variance[k + 1] = variance[k] + 2 * length * carried[k] + length**2
        carried[k + 1] = momentum * (carried[k] + length)
    found = np.empty((len(recorded), len(recorded)))
    for row, k in enumerate(recorded):
        onward = np.cumsum(np.concatenate([[0.0], lengths[k:] * momentum ** np.arange(len(lengths) - k)]))
        found[row, row:] = found[row:, row] = variance[k] + carried[k] * onward[recorded[row:] - k]
    return found


def spread_lengths(distances: Vector, recorded: NDArray[np.int64], momentum: float) -> Vector:
    r"""Return step lengths of a walk that goes these distances between recorded steps, alike within each.

    Examples
    --------
    >>> spread_lengths(np.array([2.0]), np.array([0, 4]), 0.0).tolist()
    [1.0, 1.0, 1.0, 1.0]
    """
    gaps = np.diff(recorded)
    of_gap = {n: np.sqrt(walk_gram(np.ones(n), np.array([0, n]), momentum)[1, 1]) for n in set(gaps.tolist())}
    each: Vector = np.repeat([d / of_gap[n] for d, n in zip(distances, gaps.tolist(), strict=True)], gaps)
    return each
