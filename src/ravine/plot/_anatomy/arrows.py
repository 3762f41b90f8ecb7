"""One update as arrows, head to tail: what the velocity carries on, what gradient and decay add, where that leads."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from numpy.typing import NDArray

from ravine.measure._update import Update, update_of
from ravine.plot._anatomy.window import Backdrop, Window, axis_names, draw_ground, open_window, window_of
from ravine.plot._canvas.labels import FreeSpace, draw_label
from ravine.plot._canvas.style import Style, halo, is_users, style_on, with_own_settings
from ravine.plot._canvas.words import coupled_decay
from ravine.plot._map.marks import own_axes, trajectory

Vector = NDArray[np.float64]

ORDER = ("velocity", "gradient", "weight decay", "look-ahead")
"""How the arrows stand head to tail: first where the run would coast."""


@dataclass(frozen=True, eq=False)
class Arrow:
    """One arrow in data coordinates, with its name on the picture; `gid` is how it is found again."""

    gid: str
    words: str
    tail: Vector
    part: Vector
    color: str
    strong: bool = False

    @property
    def head(self) -> Vector:
        """Where it ends."""
        return self.tail + self.part


@dataclass(frozen=True, eq=False)
class Spot:
    """A marked place: a ring where the update starts, a full dot where it ends, a square for the other frame."""

    gid: str
    words: str
    place: Vector
    color: str
    marker: str = "o"
    hollow: bool = False


@with_own_settings
def vectors(
    run: xr.Dataset,
    step: int,
    ax: Axes | None = None,
    *,
    land: xr.Dataset | None = None,
    axes: tuple[str, str] | None = None,
    style: str = "ravine",
) -> Axes:
    r"""Draw one update as arrows that add up to it, from the run's own numbers.

    With Nesterov momentum the picture is in the textbook's frame, where the gradient is that at the point to which
    the velocity carries; torch evaluates no second gradient, its parameters *are* those points, and the picture
    marks them (`ravine.plot.anatomy` draws torch's own frame):

    .. math:: \phi_k = \theta_k + \eta\mu v_k,\quad \phi_{k+1} = \phi_k - \eta\mu v_k - \eta g(\theta_k)

    Parameters
    ----------
    run
        One run of two parameters with ``gradient``, and where it has momentum ``velocity``.
    step
        The update from this step to the next.
    ax
        Where to draw; a new figure if left out.
    land
        A study with the ``surface`` to draw it over; its axes are then those of the picture.
    axes
        Labels of the horizontal and the vertical parameter; the surface's, or the run's order, if left out.
    style
        ``"ravine"``, ``"article"`` or ``"dark"``.

    Raises
    ------
    ValueError
        As `ravine.plot.anatomy` does.

    Examples
    --------
    >>> import ravine
    >>> problem = ravine.gallery.article()["MSELoss"]
    >>> run = ravine.descend(problem, lr=0.1, momentum=0.9, also=("gradient", "velocity"))
    >>> ax = ravine.plot.vectors(run, step=6, axes=("bias", "weight"))
    >>> [arrow.get_gid() for arrow in ax.collections]
    ['update', 'velocity', 'gradient']
    """
    theme = style_on(style, ax)
    names = axes or (axis_names(run, land) if land is not None else None)
    *_, names = trajectory(run, names)
    update = update_of(run.sel(parameter=list(names)), step)
    arrows, spots = textbook_of(update, theme) or (arrows_of(update, theme), ends_of(update, theme))
    if ax is None:
        ax = own_axes(theme, 0.8, 1.1 if theme.terrain else 0.25)
    draw_update(ax, run, land, names, arrows, spots, theme)
    return ax


def draw_update(
    ax: Axes,
    run: xr.Dataset,
    land: xr.Dataset | None,
    names: tuple[str, str],
    arrows: Sequence[Arrow],
    spots: Sequence[Spot],
    theme: Style,
    shown: Vector | None = None,
) -> None:
    """Draw arrows and marked places in a window around them, over the surface where there is one.

    `shown` are more places (n, 2) that the window must hold.
    """
    box, figure = ax.get_position(), ax.get_figure()
    assert figure is not None
    ratio = box.height * figure.get_figheight() / (box.width * figure.get_figwidth())  # type: ignore[union-attr]
    corners = corners_of(arrows, spots)
    window = window_of(corners if shown is None else np.concatenate([corners, shown]), ratio)
    open_window(ax, window, names, theme)
    ground = Backdrop()
    if land is not None:
        ground = draw_ground(ax, land, coupled_decay(run), window, theme)
    elif theme.terrain:
        ax.set_axis_off()
    elif not is_users(ax):
        ax.set_facecolor(theme.far)
    ground.number(draw_arrows(ax, arrows, spots, window, theme), theme)


def part_colors(theme: Style) -> dict[str, str]:
    """Return the colour of each part, the same in arrows and in words."""
    update, velocity, gradient, decay, ahead = theme.accents[:5]
    return {
        "update": update,
        "velocity": velocity,
        "gradient": gradient,
        "weight decay": decay,
        "look-ahead": ahead,
        "downhill": gradient,
    }


def corners_of(arrows: Sequence[Arrow], spots: Sequence[Spot]) -> Vector:
    """Return every place that a picture of these must show."""
    return np.array([*(spot.place for spot in spots), *(arrow.head for arrow in arrows)])


def arrows_of(update: Update, theme: Style) -> list[Arrow]:
    """Return the recorded update and its parts that are not 0; where these are unknown, which way is downhill."""
    colors, here = part_colors(theme), update.position
    whole = Arrow("update", "update", here, update.moved, colors["update"], strong=True)
    arrows = [whole] if update.moved.any() else []
    for name in ORDER:
        if name in update.parts and update.parts[name].any():
            arrows.append(Arrow(name, _part_text(name, update), here, update.parts[name], colors[name]))
            here = here + update.parts[name]
    steep = float(np.hypot(*update.gradient))
    if update.rule is None and 0 < steep < np.inf:
        down = -update.gradient / steep * (float(np.hypot(*update.moved)) or 1.0)
        words = f"downhill{' on this mini-batch' * update.batched}\n\N{MINUS SIGN}g, direction only"
        arrows.append(Arrow("downhill", words, update.position, down, colors["downhill"]))
    return arrows


def ends_of(update: Update, theme: Style) -> list[Spot]:
    """Return where the update starts and ends."""
    if not update.moved.any():
        return [Spot("here", f"steps {update.step} and {update.step + 1}", update.position, theme.accent, hollow=True)]
    return [
        Spot("here", f"step {update.step}", update.position, theme.accent, hollow=True),
        Spot("there", f"step {update.step + 1}", update.following, theme.accent),
    ]


def _part_text(name: str, update: Update) -> str:
    rule = update.rule
    assert rule is not None
    kept = "" if rule.kept == 1 else "(1\N{MINUS SIGN}d)·"
    sign = "+" if rule.maximize else "\N{MINUS SIGN}"
    return {
        "velocity": "velocity\n\N{MINUS SIGN}lr·μ·v",
        "gradient": f"gradient{' of this mini-batch' * update.batched}\n{sign}lr·{kept}g",
        "weight decay": f"weight decay\n\N{MINUS SIGN}lr·{kept}λ·θ",
        "look-ahead": "look-ahead\n\N{MINUS SIGN}lr·μ·(v\N{PRIME} \N{MINUS SIGN} v)",
    }[name]


def textbook_of(update: Update, theme: Style) -> tuple[list[Arrow], list[Spot]] | None:
    """Return a Nesterov update in the textbook's frame; None for any other.

    Its positions lie one look-ahead behind torch's: coasting leads from there to torch's parameters, where the
    gradient is taken.
    """
    rule = update.rule
    if rule is None or not rule.nesterov or update.velocity is None or not rule.momentum:
        return None
    colors = part_colors(theme)
    coast = update.parts.get("velocity", np.zeros_like(update.position))
    here = update.position - coast
    pull = update.parts["gradient"] + update.parts.get("weight decay", 0.0)
    there = update.position + pull
    arrows = [Arrow("update", "update of the\ntextbook's position", here, there - here, colors["update"], strong=True)]
    if coast.any():
        arrows.append(Arrow("velocity", "velocity", here, coast, colors["velocity"]))
    arrows.append(
        Arrow(
            "gradient", "gradient at the\nlook-ahead point", update.position, update.parts["gradient"], theme.accents[2]
        )
    )
    if "weight decay" in update.parts:
        tail = update.position + update.parts["gradient"]
        arrows.append(Arrow("weight decay", "weight decay", tail, update.parts["weight decay"], colors["weight decay"]))
    spots = [
        Spot("here", f"step {update.step}", here, theme.accent, hollow=True),
        Spot("there", f"step {update.step + 1}", there, theme.accent),
        Spot("torch", "torch's parameters", update.position, colors["velocity"], marker="s", hollow=True),
    ]
    return [arrow for arrow in arrows if arrow.part.any()], spots


def draw_arrows(
    ax: Axes,
    arrows: Sequence[Arrow],
    spots: Sequence[Spot],
    window: Window,
    theme: Style,
    *,
    track: Vector | None = None,
    size: float = 8.5,
) -> FreeSpace:
    """Draw arrows and marked places with their names, over the path before and after; return what room is left.

    The update is drawn broad, under its parts, so that both are seen where they lie on one line.
    """
    free = FreeSpace(ax)
    if track is not None:
        free.line(free.points(track - window.origin), 2.0)
    for arrow in arrows:
        ends = np.array([arrow.tail, arrow.head]) - window.origin
        free.line(free.points(ends), 5.0 if arrow.strong else 4.0)
        quiver = ax.quiver(
            *ends[0],
            *arrow.part,
            color=arrow.color,
            angles="xy",
            scale_units="xy",
            scale=1,
            units="inches",
            width=0.058 if arrow.strong else 0.024,
            headwidth=3.2 if arrow.strong else 4.5,
            headlength=3.6 if arrow.strong else 5.5,
            headaxislength=3.2 if arrow.strong else 4.8,
            minlength=0.5,
            zorder=3 if arrow.strong else 3.2,
        )
        quiver.set_gid(arrow.gid)
        quiver.set_path_effects(halo(theme, 1.2))
    for spot in spots:
        place = spot.place - window.origin
        free.mark(free.points([place]), 6.0)
        shape: dict[str, Any] = {"marker": spot.marker, "ms": 7 if spot.hollow else 6, "zorder": 4}
        edge = (
            {"mew": 1.7, "mec": spot.color, "mfc": theme.ground} if spot.hollow else {"mew": 1.0, "mec": theme.ground}
        )
        ax.plot(*place, ls="", gid=spot.gid, **{"color": spot.color, **shape, **edge})
    for arrow in sorted(arrows, key=lambda each: -len(each.words)):  # the widest words need room most
        middle = arrow.tail + arrow.part / 2 - window.origin
        draw_label(ax, arrow.words, middle, theme, color=arrow.color, free=free, size=size, near=8.0)
    for spot in spots:
        ink = theme.ink if spot.marker == "o" else spot.color
        draw_label(ax, spot.words, spot.place - window.origin, theme, color=ink, free=free, size=size, near=7.0)
    return free


def draw_same_loss(ax: Axes, update: Update, window: Window, theme: Style) -> None:
    """Draw, at the position, the direction in which the loss stays the same: across the gradient."""
    steep = float(np.hypot(*update.gradient))
    if not 0 < steep < np.inf or update.batched:
        return
    across = np.array([-update.gradient[1], update.gradient[0]]) / steep
    reach = 2 * float(np.hypot(*(window.high - window.low)))
    ends = np.array([update.position - reach * across, update.position + reach * across]) - window.origin
    ax.plot(
        *ends.T, color=theme.contour, lw=0.9, ls=(0, (5, 4)), zorder=1.1, gid="same loss", scalex=False, scaley=False
    )
