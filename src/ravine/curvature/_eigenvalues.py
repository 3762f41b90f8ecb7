"""eigenvalues: both ends of the Hessian's spectrum along a run, and for Adam that of the preconditioned one."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from ravine._problem.problem import Problem
from ravine._problems import as_one_problem
from ravine._progress import tracked
from ravine._study.contract import CONTRACT, check_single, plane_of
from ravine._study.provenance import provenance
from ravine._torch import one_thread, with_gradients
from ravine.curvature._derivatives import LossAlong
from ravine.curvature._places import choose_places
from ravine.measure._adam import AdamRule, is_adam, read_adam
from ravine.measure._objective import step_values
from ravine.measure._stability import SAW_ALL, are_the_same_loss

Vector = NDArray[np.float64]
Product = Callable[[Vector], Vector]

WHOLE = 256
"""Parameters up to which the whole Hessian is taken: both ends by Lanczos's method take as many products."""

TOLERANCE = {"float64": 1e-5}
"""Residual of an eigenvector, as a share of the largest curvature, at which Lanczos's method stops; else 1e-3.

The error of the eigenvalue itself is about the square of that.
"""

COMPARED = 8
"""Places at which a recording's losses are compared with those of the problem."""

BASIS = 40
"""Vectors that Lanczos's method holds at once."""


@with_gradients
def eigenvalues(problem: Problem | str, run: xr.Dataset, steps: Sequence[int] | None = None) -> xr.Dataset:
    r"""Evaluate the largest and the smallest eigenvalue of the loss's Hessian at each step of a run.

    ``ravine.plot.stability(run.assign(ravine.eigenvalues(problem, run)))`` draws the largest under the limit of each
    step's lr. For a run of torch's Adam over all data the largest of the preconditioned Hessian :math:`P^{-1}H` comes
    with them, where :math:`P` is what the step divides its momentum by; it is what Adam's lr is to be held against.

    Parameters
    ----------
    problem
        What the run descended: over all data. Buffers, such as the statistics of a BatchNorm, are those that a
        recording holds of each step; of a run that holds none, those of the problem's model at every step.
    run
        One run with ``position``, or a recording.
    steps
        Which of the recorded steps; all if left out.

    Returns
    -------
    xarray.Dataset
        ``sharpness`` and ``lowest_curvature`` (step,), the largest eigenvalue and the smallest; NaN where nobody
        looked, or nothing is finite. For Adam also ``preconditioned_sharpness`` (step,): that takes each step of the
        run from its start, because the preconditioner is made of all gradients before; where it cannot be had, a
        warning says why. Some of a recording's losses are compared with those of the problem, to tell whether its
        optimizer saw all data.

    Raises
    ------
    TypeError
        If `steps` are no numbers of steps.
    ValueError
        If there are several runs, they lie on a plane, the parameters are not the problem's, or a step is not there.

    Examples
    --------
    >>> import ravine
    >>> problem = ravine.gallery.quadratic(condition=10)
    >>> found = ravine.eigenvalues(problem, ravine.descend(problem, lr=0.1, steps=2))
    >>> found.sharpness.values.tolist(), found.lowest_curvature.round(9).values.tolist()
    ([2.0, 2.0, 2.0], [0.2, 0.2, 0.2])

    Notes
    -----
    From the whole Hessian up to 256 parameters, else by Lanczos's method on Hessian-vector products
    (scipy.sparse.linalg.eigsh), begun at each step with the eigenvectors of the one before; in float64 wherever the
    loss allows it. The smallest eigenvalue is accurate for the size of the largest. Of attention the plain kernel is
    taken, and sparse gradients are made dense: nothing else can be differentiated twice. Cohen et al., ICLR 2021, and
    "Adaptive Gradient Methods at the Edge of Stability", 2022.
    """
    problem = as_one_problem(problem, "ravine.eigenvalues")
    if isinstance(run, xr.Dataset) and plane_of(run) is not None:
        raise ValueError("this run is projected onto a plane: give the run itself, and assign what comes of it to both")
    position = check_single(run, "position").transpose("step", "parameter")
    _check_parameters(problem, position)
    numbers = step_values(run)
    chosen = choose_places(numbers, steps)
    losses = LossAlong(problem, run)
    found = Spectrum(losses, np.full((3, len(numbers)), np.nan))
    found.look(position, chosen)
    names = ["sharpness", "lowest_curvature"]
    facts: dict[str, str | bool] = {}
    if losses.buffers:
        facts["buffers"] = losses.buffers
    if _recorded_all_data(run, position, losses):
        facts[SAW_ALL] = True
    if is_adam(run):
        rule = read_adam(run, whole=SAW_ALL in facts)
        why = rule if isinstance(rule, str) else _why_no_preconditioner(numbers)
        if isinstance(rule, str) or why:
            warnings.warn(f"there is no preconditioned_sharpness: {why}", stacklevel=3)
            facts["preconditioned"] = f"none: {why}"
        else:
            found.look_preconditioned(run, rule, chosen)
            names.append("preconditioned_sharpness")
    engine = "the whole Hessian" if problem.size <= WHOLE else "Lanczos on Hessian-vector products"
    fate = provenance(engine, dtype=losses.precision, **facts)
    data = {
        name: ("step", row, {"long_name": CONTRACT[name].long_name, "provenance": fate})
        for name, row in zip(names, found.rows, strict=False)
    }
    return xr.Dataset(data, {"step": run["step"].variable} if "step" in run.coords else {})


def _check_parameters(problem: Problem, position: xr.DataArray) -> None:
    if position.sizes["parameter"] != problem.size:
        raise ValueError(f"the run has {position.sizes['parameter']:,} parameters and the problem {problem.size:,}")
    labels = position["parameter"].values if "parameter" in position.coords else np.array([], dtype=int)
    if labels.dtype.kind in "UO" and tuple(labels.tolist()) != problem.labels:
        other = next((a, b) for a, b in zip(labels.tolist(), problem.labels, strict=True) if a != b)
        raise ValueError(f"the run is of other parameters than the problem: {other[0]!r} there is {other[1]!r} here")


def _recorded_all_data(run: xr.Dataset, position: xr.DataArray, losses: LossAlong) -> bool:
    """Tell whether what a recording's optimizer saw at some places is the problem's loss, which it does not hold."""
    if "batch_loss" not in run or ("loss" in run and bool(np.isfinite(run["loss"]).any())):
        return False
    seen = run["batch_loss"].values.astype(np.float64)
    there = np.flatnonzero(np.isfinite(seen) & np.isfinite(position.values).all(axis=1))
    some = there[np.unique(np.linspace(0, len(there) - 1, COMPARED).astype(int))] if len(there) else there
    true = [losses.at(int(k)).value(np.array(position.values[k], dtype=np.float64)) for k in some]
    return are_the_same_loss(true, seen[some])


def _why_no_preconditioner(numbers: NDArray[np.int64]) -> str:
    if not np.array_equal(numbers, np.arange(len(numbers))):
        return (
            "Adam's preconditioner is made of the gradients of all steps before, and this run holds only some of them: "
            "record each, as ravine.descend does, and ravine.record(…, every=1)"
        )
    return ""


@dataclass
class Spectrum:
    """What is found along one run: `rows` are largest, smallest and largest preconditioned eigenvalue (3, step)."""

    losses: LossAlong
    rows: Vector

    def look(self, position: xr.DataArray, chosen: Sequence[int]) -> None:
        """Find both ends at the chosen places."""
        begin: list[Vector | None] = [None, None]
        for k in tracked(chosen, "steps"):
            place = np.array(position.values[k], dtype=np.float64)
            if not np.isfinite(place).all():
                continue
            product, size = self.losses.at(k).product(place), len(place)
            if size <= WHOLE:
                self.rows[[1, 0], k] = _whole_ends(product, size)
                continue
            high, begin[0] = self._largest(product, size, begin[0])
            if not np.isfinite(high):
                continue

            def mirrored(vector: Vector, product: Product = product, high: float = high) -> Vector:
                return np.asarray(abs(high) * vector.reshape(-1) - product(vector.reshape(-1)))

            far, begin[1] = self._largest(mirrored, size, begin[1])
            self.rows[:2, k] = high, abs(high) - far

    def look_preconditioned(self, run: xr.Dataset, rule: AdamRule, chosen: Sequence[int]) -> None:
        """Find the largest eigenvalue of the preconditioned Hessian at the chosen places."""
        begin: Vector | None = None
        wanted = set(chosen)
        for k, (place, scale) in enumerate(self._preconditioners(run, rule)):
            if k not in wanted or not (np.isfinite(place).all() and np.isfinite(scale).all()):
                continue
            root, product = 1 / np.sqrt(scale), self.losses.at(k).product(place)

            def scaled(vector: Vector, root: Vector = root, product: Product = product) -> Vector:
                inner = root * vector.reshape(-1)
                return np.asarray(root * (product(inner) + rule.weight_decay * inner))

            if len(place) <= WHOLE:
                self.rows[2, k] = _whole_ends(scaled, len(place))[1]
            else:
                self.rows[2, k], begin = self._largest(scaled, len(place), begin)

    def _preconditioners(self, run: xr.Dataset, rule: AdamRule) -> Iterator[tuple[Vector, Vector]]:
        """Walk along a run: each place, and what the step from there divides its momentum by."""
        positions = run["position"].transpose("step", "parameter").values
        recorded = run["gradient"].transpose("step", "parameter").values if "gradient" in run else None
        squares = highest = np.zeros(positions.shape[1])
        for step in tracked(range(len(positions)), "steps"):
            place = np.array(positions[step], dtype=np.float64)
            gradient = None if recorded is None else np.array(recorded[step], dtype=np.float64)
            if gradient is None or not np.isfinite(gradient).all():
                gradient = self.losses.at(step).gradient(place)
            with np.errstate(all="ignore"):
                squares = rule.beta2 * squares + (1 - rule.beta2) * (gradient + rule.weight_decay * place) ** 2
                highest = np.maximum(highest, squares)
                yield place, rule.preconditioner(highest if rule.amsgrad else squares, step)

    def _largest(self, product: Product, size: int, begin: Vector | None) -> tuple[float, Vector | None]:
        """Return the largest eigenvalue of a symmetric product, and its eigenvector: the next search begins there."""
        import scipy.sparse.linalg  # not above: it takes longer to load than most runs to look at

        drawn = np.random.default_rng(0).standard_normal(size) / np.sqrt(size)
        # an eigenvector alone may be no way to others: another may have become the largest
        start = drawn if begin is None else begin + 0.3 * drawn
        along = product(start)
        if not np.isfinite(abs(along).max() ** 2):  # squares that overflow on the way are no numbers to go by
            return np.nan, None
        if not along.any():
            return 0.0, None
        operator = scipy.sparse.linalg.LinearOperator((size, size), matvec=product, dtype=np.float64)
        tolerance = TOLERANCE.get(self.losses.precision, 1e-3)
        try:
            values, vectors = scipy.sparse.linalg.eigsh(
                operator, k=1, which="LA", v0=start, tol=tolerance, ncv=min(size, BASIS)
            )
        except scipy.sparse.linalg.ArpackError:
            return np.nan, None
        return float(values[0]), np.asarray(vectors[:, 0])


def _whole_ends(product: Product, size: int) -> Vector:
    """Return the smallest and the largest eigenvalue of a symmetric product, from all of its columns."""
    with one_thread():
        whole = np.stack([product(unit) for unit in np.eye(size)])
    if not np.isfinite(whole).all():
        return np.full(2, np.nan)
    return np.asarray(np.linalg.eigvalsh((whole + whole.T) / 2)[[0, -1]])
