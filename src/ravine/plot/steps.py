"""One update as arrows: what the velocity carries on, what the gradient adds, and where that leads."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from numpy.typing import NDArray

from ravine import study
from ravine.plot import marks, paper
from ravine.plot.paper import Style, style_of
from ravine.plot.places import Room

__all__ = ["vectors"]

Vector = NDArray[np.floating[Any]]


@dataclass(frozen=True, eq=False)
class Update:
    """One update with momentum, in two arrows: `coast` from `here`, then `push` to `there`.

    Under Nesterov momentum `here` and `there` are the textbook's positions; torch's own parameters are the
    look-ahead point between the arrows.
    """

    here: Vector
    coast: Vector
    push: Vector
    nesterov: bool

    @property
    def between(self) -> Vector:
        """Where coasting alone would lead."""
        return self.here + self.coast

    @property
    def there(self) -> Vector:
        """Where the update leads."""
        return self.here + self.coast + self.push


@paper.drawn
def vectors(
    run: xr.Dataset,
    step: int,
    ax: Axes | None = None,
    *,
    axes: tuple[str, str] | None = None,
    style: str = "ravine",
) -> Axes:
    r"""Draw one update with momentum as two arrows and their sum, from the run's own numbers.

    With plain momentum the gradient is that at the position itself. With Nesterov momentum the picture is in
    the textbook's frame, where it is that at the point to which the velocity carries; torch evaluates no
    second gradient, its parameters *are* those points, and the picture marks them:

    .. math:: \phi_k = \theta_k + \eta\mu v_k,\quad \phi_{k+1} = \phi_k - \eta\mu v_k - \eta g(\theta_k)

    Parameters
    ----------
    run
        One SGD run of two parameters with ``gradient`` and ``velocity``, with momentum.
    step
        The update from this step to the next; from 1 on, because at step 0 there is no velocity yet.
    ax
        Where to draw; a new figure if left out.
    axes
        Labels of the horizontal and the vertical parameter; the run's order if left out.
    style
        ``"ravine"`` or ``"article"``.

    Raises
    ------
    ValueError
        If the run has no momentum, lacks gradient or velocity, or the step is not one of its updates.

    Examples
    --------
    >>> import ravine
    >>> problem = ravine.gallery.article()["MSELoss"]
    >>> run = ravine.descend(problem, lr=0.1, momentum=0.9, also=("gradient", "velocity"))
    >>> ax = ravine.plot.vectors(run, step=6, axes=("bias", "weight"))
    """
    look = style_of(style)
    update = _update(run, step, axes)
    if ax is None:
        ax = marks.own_axes(look, 0.8)
    corners = np.array([update.here, update.between, update.there])
    spread = float(np.ptp(corners, axis=0).max()) or 1.0
    middle = (corners.min(axis=0) + corners.max(axis=0)) / 2
    ax.set_xlim(middle[0] - 0.85 * spread, middle[0] + 0.85 * spread)
    ax.set_ylim(middle[1] - 0.68 * spread, middle[1] + 0.68 * spread)
    ax.set_aspect("equal")
    if look is paper.ARTICLE:
        ax.set_axis_off()
    else:
        paper.calm(ax, look)
        ax.set_facecolor(look.far)
        names = marks.trajectory(run, axes)[2]
        ax.set_xlabel(names[0])
        ax.set_ylabel(names[1])
    _draw(ax, update, step, look)
    return ax


def _draw(ax: Axes, update: Update, step: int, look: Style) -> None:
    blue = look.accents[1]
    sum_name = "update of the textbook's position" if update.nesterov else "update"
    push_name = "gradient at the look-ahead point" if update.nesterov else "gradient here"
    arrows = (
        ("coast", update.here, update.coast, blue, "momentum", False),
        ("push", update.between, update.push, look.ink, push_name, False),
        ("update", update.here, update.coast + update.push, look.accent, sum_name, True),
    )
    points = [update.here, update.between, update.there]
    track = np.array([*points, update.here])
    room = Room(ax)
    room.line(room.points(track))
    for gid, tail, part, color, name, strong in arrows:
        quiver = ax.quiver(
            *tail,
            *part,
            color=color,
            angles="xy",
            scale_units="xy",
            scale=1,
            units="inches",
            width=0.032 if strong else 0.02,
            zorder=3,
        )
        quiver.set_gid(gid)
        paper.label(ax, name, tail + part / 2, look, color=color, room=room)
    ax.plot(*update.here, ls="", marker="o", ms=7, mew=1.6, mec=look.accent, mfc=look.ground, zorder=4, gid="here")
    ax.plot(*update.there, ls="", marker="o", ms=6, mew=0, color=look.accent, zorder=4, gid="there")
    spots = [(f"step {step}", update.here, look.ink), (f"step {step + 1}", update.there, look.ink)]
    if update.nesterov:
        ax.plot(
            *update.between,
            ls="",
            marker="s",
            ms=6,
            mew=1.4,
            mec=blue,
            mfc=look.ground,
            zorder=4,
            gid="torch",
        )
        spots.append(("torch's parameters", update.between, blue))
    for name, spot, color in spots:
        paper.label(ax, name, spot, look, color=color, room=room)


def _update(run: xr.Dataset, step: int, axes: tuple[str, str] | None) -> Update:
    study.check(run, "position", "gradient", "velocity")
    *_, names = marks.trajectory(run, axes)
    if str(run.coords["optimizer"].values) != "SGD" or not float(run.coords["momentum"]) > 0:
        raise ValueError("the parts of an update are known for SGD with momentum above 0")
    last = run.sizes["step"] - 2
    if not 1 <= step <= last:
        raise ValueError(f"step must be from 1 (the first with a velocity) to {last}, got {step}")
    now = run.isel(step=step).sel(parameter=list(names))
    lr, momentum, dampening, decay = (float(run.coords[n]) for n in ("lr", "momentum", "dampening", "weight_decay"))
    position, velocity, gradient = (now[n].values.astype(float) for n in ("position", "velocity", "gradient"))
    gradient = (-gradient if bool(run.coords["maximize"]) else gradient) + decay * position
    coast, nesterov = -lr * momentum * velocity, bool(run.coords["nesterov"])
    here = position - coast if nesterov else position
    return Update(here, coast, -lr * (1 - dampening) * gradient, nesterov)
