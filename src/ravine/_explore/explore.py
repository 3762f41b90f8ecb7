"""explore: the live page; turn a knob, and everything follows."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from ravine import gallery
from ravine._explore.answers import MOST_STEPS, OPTIMIZERS
from ravine._explore.standalone import make_html, make_page
from ravine._format import hint, listed
from ravine._problem.problem import Problem
from ravine._problems import Given, as_problem
from ravine._system import write_whole
from ravine._words.words import find_optimizer


def explore(
    problem: Given | None = None,
    optimizer: str | type = "SGD",
    *,
    to: str | os.PathLike[str] | None = None,
    steps: int = 100,
    force: bool = False,
    **settings: Any,
) -> Any:
    """Open the live page on a problem: every number on it is torch's, and everything follows the hand.

    What the page can compute it computes itself, in the bits of this machine's torch: a linear neuron on one input
    under MSELoss, L1Loss, HuberLoss and SmoothL1Loss, and the gallery. Any other loss is asked of Python.

    Parameters
    ----------
    problem
        A problem of exactly two parameters, or a mapping of up to four such, side by side; or a word for one, as in
        `ravine.descend`. The article's if left out.
    optimizer
        Where the page begins: SGD, Adam, AdamW, RMSprop or Adagrad of torch.optim, by class or name.
    to
        Write the page into this file and open nothing: one HTML file that needs no server, network or Python.
    steps, **settings
        Where the page begins: steps, and settings of the optimizer under torch's names.
    force
        Overwrite an existing file.

    Returns
    -------
    Path, widget or None
        With `to`, the file. In a notebook, the page as a widget (needs the extra ``notebook``). Elsewhere it opens a
        browser and stays until Ctrl-C.

    Raises
    ------
    ValueError
        If a problem has not two parameters, a setting is unknown, or the page of a file would have to ask Python.
    FileExistsError
        If the file exists and `force` is not given.

    Examples
    --------
    >>> import ravine, tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     file = ravine.explore(ravine.gallery.quadratic(condition=100), to=f"{folder}/valley.html", momentum=0.9)
    ...     file.read_text(encoding="utf-8").startswith("<!doctype html>")
    True

    Notes
    -----
    The page compares itself with runs that real torch made when it was written, and says on how many of them it is
    equal in every bit.
    """
    name = "" if problem is not None else "article"
    chosen = gallery.article() if problem is None else as_problem(problem, "ravine.explore")
    begun = check_settings(steps, settings, optimizer)
    if to is not None:
        return write_page(chosen, to, begun, name, force=force)
    from ravine._explore.server import serve

    problems, given = prepare(chosen, begun, name)
    if _in_notebook():
        from ravine._explore.widget import make_widget

        return make_widget(problems, given)
    try:
        serve(problems, given)
    except KeyboardInterrupt:
        return None
    return None


def prepare(
    problem: Problem | Mapping[str, Problem], begun: Mapping[str, Any], name: str = ""
) -> tuple[dict[str, Problem], dict[str, Any]]:
    """Return the problems by label, and what their page is given."""
    given = make_page(problem, name, settings=begun)
    return (dict(problem) if isinstance(problem, Mapping) else {"": problem}), given


def check_settings(steps: int, settings: Mapping[str, Any], optimizer: str | type = "SGD") -> dict[str, Any]:
    """Return where the page begins, or say which setting there is none of.

    Examples
    --------
    >>> check_settings(50, {"momentum": 0.9})
    {'momentum': 0.9, 'steps': 50}
    >>> check_settings(100, {"betas": (0.8, 0.99)}, "adam")
    {'optimizer': 'Adam', 'beta1': 0.8, 'beta2': 0.99}
    """
    kind = find_optimizer(optimizer) if isinstance(optimizer, str) else optimizer
    chosen = getattr(kind, "__name__", "")
    if chosen not in OPTIMIZERS or kind is not getattr(torch.optim, chosen):
        raise ValueError(f"the page has {listed(OPTIMIZERS)} of torch.optim, got {optimizer!r}")
    known, settings = OPTIMIZERS[chosen], dict(settings)
    for key, value in list(settings.items()):
        if key not in known:
            raise ValueError(f"the page has no setting {key!r}{hint(key, known)}; of {chosen} it has {listed(known)}")
        if key == "betas":
            if not isinstance(value, list | tuple) or len(value) != 2 or not all(map(_is_finite, value)):
                raise ValueError(f"betas must be two finite numbers, got {value!r}")
            settings |= dict(zip(("beta1", "beta2"), settings.pop("betas"), strict=True))
            continue
        switch = isinstance(known[key], bool)
        if switch is not isinstance(value, bool) or (not switch and not _is_finite(value)):
            raise ValueError(f"{key} must be {'True or False' if switch else 'a finite number'}, got {value!r}")
    if isinstance(steps, bool) or not isinstance(steps, int) or not 1 <= steps <= MOST_STEPS:
        raise ValueError(f"steps must be a whole number from 1 to {MOST_STEPS:,}, got {steps!r}")
    plain = {key: value if isinstance(value, bool) else float(value) for key, value in settings.items()}
    begun = {"optimizer": chosen} if chosen != "SGD" else {}
    return begun | plain | ({"steps": steps} if steps != 100 else {})


def _is_finite(value: Any) -> bool:
    try:
        return abs(float(value)) < float("inf")
    except (TypeError, ValueError, OverflowError):
        return False


def write_page(
    problem: Problem | Mapping[str, Problem],
    to: str | os.PathLike[str],
    begun: Mapping[str, Any],
    name: str = "",
    *,
    force: bool = False,
) -> Path:
    """Write the page into one file, whole or not at all."""
    path = Path(to)
    if path.suffix.lower() not in (".html", ".htm"):
        raise ValueError(f"a page ends in .html, got {path}")
    if path.is_dir():
        raise IsADirectoryError(f"{path} is a folder; a page needs the name of a file")
    if path.exists() and not force:
        raise FileExistsError(f"{path} exists already: choose another name, or force to overwrite")
    _, given = prepare(problem, begun, name)
    if given["cards"][given["own"]]["family"] == "python":
        raise ValueError(
            "a file computes linear neurons on one input and the gallery by itself; this problem needs Python beside "
            "the page: leave `to` (or -o) out, and a server on this machine shows it"
        )
    text = make_html(given)
    with write_whole(path) as draft:
        draft.write_text(text, encoding="utf-8", newline="\n")
    return path


def _in_notebook() -> bool:
    shell = getattr(sys.modules.get("IPython"), "get_ipython", lambda: None)()
    return shell is not None and getattr(shell, "kernel", None) is not None
