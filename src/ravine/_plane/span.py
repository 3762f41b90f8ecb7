"""Two directions that span a plane: of paths, from the scalar products of their positions, and of three places."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch

from ravine._plane.directions import Normalize, random_direction
from ravine._plane.gram import (
    Matrix,
    Vector,
    centred,
    combine,
    ends_weights,
    gram_of,
    principal,
    spread_lengths,
    walk_gram,
)
from ravine._plane.paths import Path

MARGIN = 0.15
"""Share of a path's box that is added on each side."""


@dataclass(frozen=True, eq=False)
class Span:
    """A point, two directions, and the box of coordinates that is worth looking at; the rest as `Plane` has it."""

    origin: Vector
    directions: Matrix
    box: tuple[tuple[float, float], tuple[float, float]]
    about: str
    explained: tuple[float, float] | None = None
    null: tuple[float, float] | None = None
    places: Mapping[str, tuple[float, float]] = field(default_factory=dict)


def span_ends(path: Path) -> Span:
    """Span the plane through both ends of a path that holds most of what is left of it."""
    gram = gram_of([path.positions], path.positions[-1].astype(np.float64))
    noise = _noise(path, gram)
    if gram[0, 0] <= noise:  # back at the start, or never away from it
        return _straight([path], gram, int(gram.diagonal().max() > noise))
    weights, shares = ends_weights(gram)
    left = gram - np.outer(gram[:, 0], gram[:, 0]) / gram[0, 0]
    if principal(left)[0][0] <= noise:
        return _straight([path], gram, 1)
    expected = _walk_of(path, gram)
    null = ends_weights(expected - expected[:, -1:] - expected[-1:] + expected[-1, -1])[1]
    return _of_paths([path], gram, weights, shares, null)


def span_pca(paths: Sequence[Path]) -> Span:
    """Span the plane of the first two principal components of paths; several must have one start."""
    gram = gram_of([path.positions for path in paths], _origin(paths))
    values, vectors = principal(centred(gram))
    found = int((values[:2] > _noise(paths[0], gram)).sum())
    if found < 2:
        return _straight(paths, gram, found)
    weights = (vectors[:, :2] - vectors[:, :2].mean(axis=0)).T / np.sqrt(values[:2, None])
    expected, at = np.zeros_like(gram), 0
    for path in paths:  # each walks by itself
        there = slice(at, at + len(path.steps))
        expected[there, there] = _walk_of(path, gram[there, there])
        at = there.stop
    null = principal(centred(expected))[0]
    return _of_paths(paths, gram, weights, values[:2] / values.sum(), null[:2] / null.sum())


def span_places(places: Sequence[Vector], shapes: Mapping[str, tuple[int, ...]]) -> Span:
    """Span the plane through three places: the first is the origin, the first axis leads to the second."""
    origin, along, off = places[0], places[1] - places[0], places[2] - places[0]
    along = along / np.linalg.norm(along)
    rest, about = off - (off @ along) * along, "a"
    if np.linalg.norm(rest) <= 1e-7 * np.linalg.norm(off):
        rest = _filter_random(shapes, origin, along[None])
        about += _tell_straight("the three places lie on one line")
    directions = np.stack([along, rest / np.linalg.norm(rest)])
    corners = np.array([directions @ (each - origin) for each in places])
    named = {name: _pair(each) for name, each in zip("abc", corners, strict=True)}
    return Span(origin, directions, _box(corners), about, places=named)


def _origin(paths: Sequence[Path]) -> Vector:
    """Return the last position of one path, or the common start of several."""
    place: Vector = paths[0].positions[0 if len(paths) > 1 else -1].astype(np.float64)
    return place


def _of_paths(paths: Sequence[Path], gram: Matrix, weights: Matrix, shares: Vector, null: Vector) -> Span:
    """Span a plane by sums of positions relative to its origin."""
    coordinates = gram @ weights.T
    # the start is on the positive side; where it is the origin, or has no side, the first run's end, or the farthest
    begun = coordinates[len(paths[0].steps) - 1 if len(paths) > 1 else 0]
    farthest = coordinates[np.abs(coordinates).argmax(axis=0), [0, 1]]
    sides = np.where(np.abs(begun) > 1e-6 * np.abs(farthest), begun, farthest)
    signs = np.where(sides < 0, -1.0, 1.0)
    origin = _origin(paths)
    directions = combine([path.positions for path in paths], origin, weights * signs[:, None])
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    return Span(
        origin,
        directions,
        _box(coordinates * signs),
        _about(paths),
        _pair(shares),
        _pair(null) if origin.size > 2 else None,
    )


def _straight(paths: Sequence[Path], gram: Matrix, found: int) -> Span:
    """Span a plane by a path that does not span one: the axes that it lacks are random, and that is told."""
    origin, several = _origin(paths), len(paths) > 1
    directions = np.empty((0, len(origin)))
    if found:  # one axis, along the path
        weights = np.zeros((1, len(gram)))
        farthest = int(gram.diagonal().argmax())
        weights[0, farthest] = 1 / np.sqrt(gram[farthest, farthest])
        directions = combine([path.positions for path in paths], origin, weights)
        directions /= np.linalg.norm(directions)
    while len(directions) < 2:
        drawn = _filter_random(paths[0].shapes, origin, directions)
        directions = np.concatenate([directions, [drawn / np.linalg.norm(drawn)]])
    what = f"the path{'s lie on one line' if several else ' is straight'}" if found else "the path stays where it is"
    about = _about(paths) + _tell_straight(what, found)
    if not found:
        return Span(origin, directions, ((-1.0, 1.0), (-1.0, 1.0)), about)
    reach = np.zeros((len(gram), 2))
    reach[:, 0] = gram[:, farthest] / np.sqrt(gram[farthest, farthest])
    null = principal(centred(_walk_of(paths[0], gram[: len(paths[0].steps), : len(paths[0].steps)])))[0]
    return Span(
        origin, directions, _box(reach), about, (1.0, 0.0), _pair(null / null.sum()) if origin.size > 2 else None
    )


def _about(paths: Sequence[Path]) -> str:
    return "the common start" if len(paths) > 1 else f"the position at step {paths[0].steps[-1]}"


def _pair(values: Vector) -> tuple[float, float]:
    return float(values[0]), float(values[1])


def _filter_random(shapes: Mapping[str, tuple[int, ...]], origin: Vector, others: Matrix) -> Vector:
    """Return a filter-normalised random direction at right angles to others; plain where no parameter has a filter."""
    if len(origin) <= len(others):
        raise ValueError(f"a plane takes two parameters or more, and there is {len(origin)}")
    generator = torch.Generator().manual_seed(len(others))
    sizes = [int(np.prod(shape)) for shape in shapes.values()]
    pieces = torch.split(torch.from_numpy(origin), sizes)
    start = {name: piece.reshape(shape) for (name, shape), piece in zip(shapes.items(), pieces, strict=True)}
    ways: tuple[Normalize, ...] = ("filter", None)
    for normalize in ways:
        drawn = random_direction(start, generator, normalize)
        drawn = drawn - others.T @ (others @ drawn)
        if np.linalg.norm(drawn) > 1e-6 * max(1.0, float(np.linalg.norm(origin))):
            break
    return drawn


def _tell_straight(what: str, found: int = 1) -> str:
    which = "its second axis is" if found else "both axes are"
    words = f"{what}, and spans no plane: {which} random, filter-normalised"
    warnings.warn(words, stacklevel=5)
    return f"; {words}"


def _noise(path: Path, gram: Matrix) -> float:
    """Return the squared length that rounding of the positions, and of their scalar products, may leave."""
    eps = float(np.finfo(path.positions.dtype if path.positions.dtype.kind == "f" else np.float64).eps)
    last = path.positions[-1].astype(np.float64)
    return float(len(gram) * (eps**2 * (last @ last) + np.finfo(float).eps * np.trace(gram)))


def _walk_of(path: Path, gram: Matrix) -> Matrix:
    """Return the scalar products of a random walk of the same step lengths and momentum, relative to its start."""
    squares = gram.diagonal()
    distances = np.sqrt(np.maximum(squares[1:] + squares[:-1] - 2 * np.diag(gram, 1), 0.0))
    steps = path.steps - path.steps[0]
    return walk_gram(spread_lengths(distances, steps, path.momentum), steps, path.momentum)


def _box(coordinates: Matrix) -> tuple[tuple[float, float], tuple[float, float]]:
    """Return the box of coordinates with a margin; a side that hardly moves is as long as the other."""
    lows, highs = coordinates.min(axis=0).tolist(), coordinates.max(axis=0).tolist()
    longest = max(high - low for low, high in zip(lows, highs, strict=True)) or 1.0
    sides = []
    for low, high in zip(lows, highs, strict=True):
        side = high - low
        if side < 1e-3 * longest:
            low, high, side = low - longest / 2, high + longest / 2, longest
        sides.append((low - MARGIN * side, high + MARGIN * side))
    return sides[0], sides[1]
