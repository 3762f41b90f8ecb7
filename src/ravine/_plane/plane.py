"""Plane: two directions through the space of all parameters."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import torch
import xarray as xr

from ravine._plane.directions import Normalize, find_owners, random_direction
from ravine._plane.gram import Matrix, Vector
from ravine._plane.paths import read_path, read_paths, read_place, shapes_of
from ravine._plane.project import project
from ravine._plane.span import Span, span_ends, span_pca, span_places
from ravine._problem.in_place import Statistics
from ravine._problem.over_batches import OverBatches
from ravine._problem.problem import Problem
from ravine._problems import as_one_problem
from ravine._torch import with_gradients
from ravine.curvature._hessian import top_eigenpairs

Kind = Literal["ends", "pca", "random", "hessian", "through"]


@dataclass(frozen=True, eq=False)
class Plane:
    """A plane through the space of all parameters: a point, and two directions that need not be orthogonal.

    Make one with `ends`, `pca`, `random`, `hessian` or `through`; `project` puts a run on it, and
    ``ravine.surface(problem, plane=plane)`` evaluates the loss over it.

    Attributes
    ----------
    kind
        Which of the five.
    axes
        What the two directions are called, the horizontal one first.
    origin
        The point with the coordinates (0, 0): all parameters in one vector, in float64.
    directions
        (2, parameter), in float64. Of paths and points they are of length 1 and orthogonal, so that coordinates are
        distances; of random planes as long as the parameters are.
    shapes
        Name of each tensor to its shape, in the order of the vectors.
    statistics
        Where BatchNorm takes mean and variance from: ``"frozen"``, those the model was handed over with (of a recorded
        position those of its step), or ``"batch"``, those of the data at each point.
    ranges
        Axis to (low, high): what a surface shows where nothing else is said.
    explained, null
        Share of the runs' squared length (of `pca`: about their mean) along each axis, and what an isotropic random
        walk with the same step lengths and momentum would have; None where the plane is of no run.
    about
        What the origin is, and what else is to be known.

    Examples
    --------
    >>> import ravine
    >>> problem = ravine.gallery.rosenbrock()
    >>> run = ravine.descend(problem, lr=1e-3, momentum=0.9, steps=50)
    >>> plane = ravine.Plane.ends(run)
    >>> path = plane.project(run, problem)
    >>> land = ravine.surface(problem, plane=plane, points=11)
    >>> land.surface.dims, path.position.dims
    (('across', 'end to start'), ('step', 'parameter'))
    >>> bool(abs(path.drawn_loss - path.loss).max() < 1e-4)  # of two parameters nothing is left out
    True
    """

    kind: Kind
    axes: tuple[str, str]
    origin: Vector
    directions: Matrix
    shapes: Mapping[str, tuple[int, ...]]
    statistics: Statistics
    ranges: Mapping[str, tuple[float, float]]
    explained: tuple[float, float] | None = None
    null: tuple[float, float] | None = None
    about: str = field(default="", repr=False)
    places: Mapping[str, tuple[float, float]] = field(default_factory=dict, repr=False)

    def __repr__(self) -> str:
        """One line: kind, axes, and how many parameters there are."""
        shares = "" if self.explained is None else f", {self.explained[0]:.1%} and {self.explained[1]:.1%}"
        return f"<Plane: {self.kind}; {self.axes[0]}, {self.axes[1]}{shares}; {self.size:,} parameters>"

    @property
    def size(self) -> int:
        """How many numbers the parameters are."""
        return len(self.origin)

    @property
    def cosine(self) -> float:
        """Cosine of the angle between the two directions."""
        first, second = self.directions
        return float(first @ second / np.sqrt((first @ first) * (second @ second)))

    def at(self, x: float, y: float) -> Vector:
        """Return the point with these coordinates, in float64: ``(origin + y · second) + x · first``.

        A surface rounds it once to the model's dtype.

        Examples
        --------
        >>> Plane.through([0.0, 0.0], [2.0, 0.0], [0.0, 3.0]).at(1.0, 3.0).tolist()
        [1.0, 3.0]
        """
        found: Vector = (self.origin + y * self.directions[1]) + x * self.directions[0]
        return found

    def facts(self, statistics: Statistics | None = None, **more: Any) -> str:
        """Return what a study says of the plane that it lies in, as JSON."""
        known: dict[str, Any] = {
            "kind": self.kind,
            "axes": list(self.axes),
            "explained": None if self.explained is None else list(self.explained),
            "null": None if self.null is None else list(self.null),
            "cosine": self.cosine,
            "statistics": statistics,
            "origin": self.about,
            "size": self.size,
        }
        known |= {"places": {name: list(each) for name, each in self.places.items()}} if self.places else {}
        return json.dumps(known | more)

    # -- the five ways to make one ---------------------------------------------------------------------------------

    @classmethod
    def ends(cls, run: xr.Dataset, *, statistics: Statistics = "batch") -> Plane:
        r"""Make the plane through both ends of a run that holds most of what is left of it.

        The origin is the last position, the first axis leads from there to the first position, the second takes most
        of the squared length that is left: what is drawn is true at both ends.

        Parameters
        ----------
        run
            One run with ``position``; memory-mapped positions are read some parameters at a time.
        statistics
            See `Plane`.

        Raises
        ------
        ValueError
            If the run has fewer than three positions, or lies in a plane already.
        """
        path = read_path(run)
        return cls._spanned("ends", ("end to start", "across"), span_ends(path), path.shapes, statistics)

    @classmethod
    def pca(cls, runs: xr.Dataset | Mapping[str, xr.Dataset], *, statistics: Statistics = "batch") -> Plane:
        """Make the plane of the first two principal components of one run, or of several from one start.

        The axes are those of the positions about their mean; the origin is the last position of one run, and the common
        start of several. On the first axis the start of a run lies on the positive side.

        Parameters
        ----------
        runs
            A run, or label to run: one plane for all of them.
        statistics
            See `Plane`.

        Raises
        ------
        ValueError
            If a run has fewer than three positions, runs are of different models, or begin at different places.

        Notes
        -----
        Li et al., "Visualizing the Loss Landscape of Neural Nets", NeurIPS 2018. From the scalar products of all
        positions, in float64. How much they explain means little by itself: Antognini and Sohl-Dickstein, "PCA of high
        dimensional random walks with comparison to neural network training", NeurIPS 2018; hence `null`.
        """
        labelled = read_paths(runs)
        paths = list(labelled.values())
        for label, path in labelled.items():
            if not np.array_equal(path.positions[0], paths[0].positions[0]):
                raise ValueError(
                    f"the runs begin at different places ({label!r} elsewhere than {next(iter(labelled))!r}), and one "
                    "plane for several has their common start as origin: start them alike, or make a plane of each"
                )
        return cls._spanned("pca", ("PC 1", "PC 2"), span_pca(paths), paths[0].shapes, statistics)

    @classmethod
    def random(
        cls,
        problem: Problem,
        seed: int = 0,
        normalize: Normalize = "filter",
        *,
        statistics: Statistics = "frozen",
    ) -> Plane:
        """Make a plane of two random directions around a problem's start, by default filter-normalised.

        Parameters
        ----------
        problem
            Whose start is the origin: of a trained model, where training ended.
        seed
            Of a generator of its own.
        normalize
            ``"filter"``: each filter of a direction is as long as the model's own; ``"layer"``: each tensor is; None:
            plain Gaussian. The first two leave biases and norm layers as they are.
        statistics
            See `Plane`.

        Raises
        ------
        ValueError
            If no parameter has a filter, or the seed or the way to normalise is none.

        Notes
        -----
        Li et al., "Visualizing the Loss Landscape of Neural Nets", NeurIPS 2018.
        """
        problem = as_one_problem(problem, "ravine.Plane.random")
        if normalize not in ("filter", "layer", None):
            raise ValueError(f'normalize must be "filter", "layer" or None, got {normalize!r}')
        if isinstance(seed, bool) or not isinstance(seed, int) or not 0 <= seed < 2**31:
            raise ValueError(f"seed must be a whole number from 0 to 2³¹ - 1, got {seed!r}")
        generator = torch.Generator().manual_seed(seed)
        held: Any = problem.loss if isinstance(problem.loss, OverBatches) else problem.parts
        owners = {} if held is None else find_owners(held.model)
        directions = np.stack([random_direction(problem.start, generator, normalize, owners) for _ in range(2)])
        if not directions.any(axis=1).all():
            raise ValueError(
                f"normalised by {normalize}, every direction is 0: no parameter that is not 0 has two dimensions or "
                "more outside of norm layers; give normalize=None"
            )
        about = f"the problem's start; directions drawn with seed {seed}, normalised by {normalize or 'nothing'}"
        return cls._around_start("random", ("random 1", "random 2"), problem, directions, statistics, about)

    @classmethod
    @with_gradients
    def hessian(cls, problem: Problem, *, statistics: Statistics = "frozen") -> Plane:
        """Make the plane of the two directions in which the loss is most curved at a problem's start.

        Their lengths are 1. See `ravine.curvature.top_eigenpairs`, which finds them.

        Raises
        ------
        ValueError
            If there is one parameter only, or the Hessian is not finite.
        """
        problem = as_one_problem(problem, "ravine.Plane.hessian")
        values, vectors = top_eigenpairs(problem, count=2)
        about = f"the problem's start; curvature {values[0]:.4g} and {values[1]:.4g} along the axes"
        names = ("curvature 1", "curvature 2")
        return cls._around_start("hessian", names, problem, np.ascontiguousarray(vectors.T), statistics, about)

    @classmethod
    def through(cls, a: Any, b: Any, c: Any, *, statistics: Statistics = "batch") -> Plane:
        """Make the plane through three places: the origin is the first, the first axis leads to the second.

        Parameters
        ----------
        a, b, c
            Each a run (its last position), a problem (its start), a module, a mapping of parameters, or a vector.
        statistics
            See `Plane`.

        Raises
        ------
        ValueError
            If they are of different models, or two of them are the same place.

        Examples
        --------
        >>> plane = Plane.through([0.0, 0.0, 1.0], [2.0, 0.0, 1.0], [1.0, 2.0, 1.0])
        >>> plane.directions.tolist(), plane.ranges["a to b"]
        ([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]], (-0.3, 2.3))
        """
        places = [read_place(each) for each in (a, b, c)]
        shapes = next((shape for _, shape in places if shape is not None), None)
        for name, (place, shape) in zip("abc", places, strict=True):
            if len(place) != len(places[0][0]) or (shape is not None and shape != shapes):
                raise ValueError(
                    f"{name} is a place of another model: {len(place):,} parameters, and a has {len(places[0][0]):,}, "
                    "or others by name or shape"
                )
        for name, (place, _) in zip("bc", places[1:], strict=True):
            if np.array_equal(place, places[0][0]):
                raise ValueError(f"{name} is the same place as a: a plane takes three places")
        shapes = shapes or {"parameter": (len(places[0][0]),)}
        span = span_places([place for place, _ in places], shapes)
        return cls._spanned("through", ("a to b", "off a to b"), span, shapes, statistics)

    def project(self, run: xr.Dataset, problem: Problem) -> xr.Dataset:
        """Project a run onto the plane, by least squares, and evaluate the loss at each of its positions.

        Parameters
        ----------
        run
            One run with ``position``, of the plane's model.
        problem
            Whose loss is evaluated.

        Returns
        -------
        xarray.Dataset
            The run with ``position`` (step, parameter) in coordinates of the plane, whose axes are the labels;
            ``loss`` (step) at the true positions over all data, with the buffers that were recorded with them;
            ``drawn_loss`` at the points of the plane beneath, with the problem's own, as on the map;
            ``off_plane`` the distance between both; and ``squares`` the sum of the squares of all parameters. What
            else speaks of single parameters is left out, and so are buffers.

        Raises
        ------
        ValueError
            If run, plane and problem are of different models.

        Examples
        --------
        >>> import ravine
        >>> problem = ravine.gallery.quadratic(condition=4)
        >>> run = ravine.descend(problem, lr=0.1, steps=4)
        >>> path = Plane.pca(run).project(run, problem)
        >>> [str(label) for label in path.parameter.values], path.position.shape
        (['PC 1', 'PC 2'], (5, 2))
        """
        return project(self, run, as_one_problem(problem, "ravine.Plane.project"))

    @classmethod
    def _spanned(
        cls,
        kind: Kind,
        names: tuple[str, str],
        span: Span,
        shapes: Mapping[str, tuple[int, ...]],
        statistics: Statistics,
    ) -> Plane:
        _check_statistics(statistics)
        ranges = dict(zip(names, span.box, strict=True))
        shares = span.explained, span.null
        return cls(
            kind, names, span.origin, span.directions, shapes, statistics, ranges, *shares, span.about, span.places
        )

    @classmethod
    def _around_start(
        cls,
        kind: Kind,
        names: tuple[str, str],
        problem: Problem,
        directions: Matrix,
        statistics: Statistics,
        about: str,
    ) -> Plane:
        _check_statistics(statistics)
        origin = torch.cat([value.detach().cpu().double().reshape(-1) for value in problem.start.values()]).numpy()
        ranges = dict.fromkeys(names, (-1.0, 1.0))
        return cls(kind, names, origin, directions, shapes_of(problem), statistics, ranges, about=about)


def _check_statistics(statistics: Statistics) -> None:
    if statistics not in ("frozen", "batch"):
        raise ValueError(f'statistics must be "frozen" or "batch", got {statistics!r}')
