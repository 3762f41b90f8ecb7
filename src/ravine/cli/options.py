"""What can be typed on the command line: options that several commands share, and how their words are read."""

from __future__ import annotations

import ast
import re
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

MOST = 10_000_000
"""Values that a range may have."""

Format = Literal["png", "svg", "pdf"]

GALLERY = ("article", "beale", "himmelblau", "quadratic", "rastrigin", "rosenbrock", "saddle", "styblinski_tang")
"""Names of `ravine.gallery`, which is not imported to write a help or to complete a word."""

PROBLEM = (
    "A file with data (CSV, Excel, parquet, JSON; - for standard input), module:name of yours, or a problem "
    f"of the gallery: {', '.join(GALLERY)}; with arguments as in 'quadratic(condition=100)'."
)


def complete_problem(begun: str) -> list[str]:
    """Complete the name of a problem; files are the shell's.

    Examples
    --------
    >>> complete_problem("r")
    ['rastrigin', 'rosenbrock']
    """
    return [name for name in GALLERY if name.startswith(begun)]


def read_one(text: str) -> float:
    """Read the one value that a descent takes of a setting.

    Examples
    --------
    >>> read_one("1e-3")
    0.001
    """
    try:
        return float(text)
    except ValueError:
        pass
    if re.fullmatch(r"[^,:]+([,:][^,:]+)+", text):
        raise typer.BadParameter(
            f"{text!r} is several values, and this makes one run; ravine sweep takes it and makes a run for each (one "
            "number has a point before its decimals)"
        )
    raise typer.BadParameter(f"{text!r} is no number; expected one as in 0.1 or 1e-3")


def number_option(help: str, default: str) -> Any:
    """Return an option that takes one number."""
    return typer.Option(parser=read_one, metavar="NUMBER", help=help, show_default=default)


LR = "Learning rate: how far each step goes along its direction."
MOMENTUM = "Share of the velocity that is carried into the next step."
DAMPENING = "Share of the gradient that does not go into the velocity."
WEIGHT_DECAY = "Pull towards 0, added to the gradient as weight_decay times the parameter."
NESTEROV = "Look ahead: take the gradient's share of the velocity a step early."
MAXIMIZE = "Climb instead of descend."
CLIP_NORM = "Scale a gradient that is longer than this down to it."
NOISE = "Deviation of Gaussian noise that is added to each gradient."

Source = Annotated[str, typer.Argument(help=PROBLEM, autocompletion=complete_problem)]
X = Annotated[
    list[str] | None,
    typer.Option("--x", metavar="COLUMN", help="Input column, by name or by place from 0 (may be repeated)."),
]
Y = Annotated[str | None, typer.Option("--y", metavar="COLUMN", help="Target column, by name or by place from 0.")]
Decimal = Annotated[
    str | None,
    typer.Option("--decimal", help="Sign before the decimals of a CSV file: . or ,", show_default="found out"),
]
Criterion = Annotated[
    list[str] | None,
    typer.Option(
        "--criterion",
        "--loss",
        metavar="LOSS",
        help='A loss of torch.nn, as in mse, huber or "HuberLoss(delta=0.5)", in any case (may be repeated).',
    ),
]
Standardize = Annotated[bool, typer.Option("--standardize", help="Bring columns to mean 0 and deviation 1 first.")]
Encoding = Annotated[str | None, typer.Option(help="Of a CSV file, as in latin-1 or cp1252.", show_default="UTF-8")]
DropMissing = Annotated[
    bool, typer.Option("--drop-missing", help="Leave out the rows of a file that have gaps, and say how many.")
]
Start = Annotated[
    list[str] | None, typer.Option("--start", metavar="NAME=VALUE", help="Where to start (may be repeated).")
]
Steps = Annotated[int, typer.Option("--steps", "--epochs", help="Optimizer steps.")]
OptimizerName = Annotated[
    str, typer.Option(help="A class of torch.optim in any case, as in adam, or module:name of yours.")
]
Scheduler = Annotated[
    str | None,
    typer.Option(
        help='A learning-rate scheduler of torch, as in cosine or "StepLR(step_size=30)"; several in a SequentialLR, '
        "each written as in Python."
    ),
]
Momentum = Annotated[float | None, number_option(MOMENTUM, "0")]
Dampening = Annotated[float | None, number_option(DAMPENING, "0")]
WeightDecay = Annotated[float | None, number_option(WEIGHT_DECAY, "0")]
Nesterov = Annotated[bool | None, typer.Option("--nesterov/--no-nesterov", help=NESTEROV)]
Maximize = Annotated[bool | None, typer.Option("--maximize/--no-maximize", help=MAXIMIZE)]
BatchSize = Annotated[int | None, typer.Option(help="Mini-batches of this size.", show_default="all data")]
OutStudy = Annotated[Path | None, typer.Option("--out", "-o", help="The study to write; the picture goes beside it.")]
OutSweep = Annotated[
    Path | None,
    typer.Option("--out", "-o", help="The study to write: a file .nc, or a folder .zarr that can be resumed."),
]
Workers = Annotated[int | None, typer.Option(help="Processes to share the runs out to.", show_default="this one")]
Cluster = Annotated[
    str | None, typer.Option(help="A dask scheduler to share the runs out to, as in tcp://10.0.0.1:8786.")
]
Style = Annotated[
    Literal["ravine", "dark", "article"],
    typer.Option(metavar="STYLE", help="How pictures look: ravine, dark or article."),
]
FormatOption = Annotated[
    Format, typer.Option("--format", metavar="KIND", help="Kind of picture file: png, svg or pdf.")
]
Verbose = Annotated[
    bool, typer.Option("--verbose", "-v", help="Say too how the runs were computed, and how near to torch they are.")
]
Force = Annotated[bool, typer.Option("--force", help="Overwrite existing files.")]


def read_pairs(given: list[str] | None) -> dict[str, Any]:
    """Read name=value; numbers and true/false become what they look like.

    Examples
    --------
    >>> read_pairs(["betas=(0.8, 0.99)", "amsgrad=true", "weight=2"])
    {'betas': (0.8, 0.99), 'amsgrad': True, 'weight': 2.0}
    """
    return {name: read_value(value) for name, value in split_pairs(given)}


def read_ranges(given: list[str] | None) -> dict[str, tuple[float, float]]:
    """Read axis=low:high.

    Examples
    --------
    >>> read_ranges(["PC 1=-2:3"])
    {'PC 1': (-2.0, 3.0)}
    """
    found = {}
    for name, value in split_pairs(given):
        try:
            low, high = map(float, value.split(":"))
        except ValueError:
            raise ValueError(f"{name}: expected low:high, as in -2:3, got {value!r}") from None
        found[name] = (low, high)
    return found


def split_pairs(given: list[str] | None) -> list[tuple[str, str]]:
    """Split name=value."""
    found = []
    for each in given or []:
        name, equals, value = each.partition("=")
        if not equals or not name:
            raise ValueError(f"expected name=value, got {each!r}")
        found.append((name.strip(), value.strip()))
    return found


def read_value(text: str) -> Any:
    """Read one value."""
    if text.lower() in ("true", "false"):
        return text.lower() == "true"
    if text.lower().lstrip("+-") in ("nan", "inf"):
        return float(text)
    try:
        value = ast.literal_eval(text)
    except (SyntaxError, ValueError):
        return text
    return float(value) if isinstance(value, int) and not isinstance(value, bool) else value


def read_values(name: str, text: str) -> Any:
    """Read the values of a sweep: ``start:stop:count``, with ``:log`` for equal ratios, or a list with commas.

    Examples
    --------
    >>> read_values("lr", "0.001:1:4:log").round(3).tolist(), read_values("momentum", "0:0.9:4").round(1).tolist()
    ([0.001, 0.01, 0.1, 1.0], [0.0, 0.3, 0.6, 0.9])
    >>> read_values("nesterov", "false,true"), read_values("betas", "(0.9,0.99),(0.8,0.9)"), read_values("lr", "0.1")
    ([False, True], [(0.9, 0.99), (0.8, 0.9)], 0.1)
    """
    if ":" in text:
        return _read_range(name, text)
    try:
        listed = ast.literal_eval(f"[{text}]")
    except (SyntaxError, ValueError):
        listed = [read_value(word.strip()) for word in text.split(",")]
    numbers = [float(v) if isinstance(v, int) and not isinstance(v, bool) else v for v in listed]
    return numbers[0] if len(numbers) == 1 else numbers


def read_seeds(text: str) -> int | list[int]:
    """Read one seed or a list of them.

    Examples
    --------
    >>> read_seeds("3"), read_seeds("1,2")
    (3, [1, 2])
    """
    try:
        seeds = [int(word) for word in text.split(",")]
    except ValueError:
        raise ValueError(f"seed must be a whole number or several with commas, got {text!r}") from None
    return seeds[0] if len(seeds) == 1 else seeds


def _read_range(name: str, text: str) -> Any:
    import numpy as np

    words = text.split(":")
    how = words.pop().strip() if len(words) == 4 else "even"
    try:
        start, stop, count = float(words[0]), float(words[1]), int(words[2])
        if len(words) != 3 or not 2 <= count <= MOST or how not in ("even", "log") or start == stop:
            raise ValueError
    except (ValueError, IndexError):
        raise ValueError(
            f"{name}: cannot read the range {text!r}; expected start:stop:count or start:stop:count:log, "
            f"as in 0.001:1:50:log, with 2 to {MOST:,} values"
        ) from None
    if how == "log" and (start <= 0 or stop <= 0):
        raise ValueError(f"{name}: a range with equal ratios needs a start and a stop above 0, got {text!r}")
    return np.geomspace(start, stop, count) if how == "log" else np.linspace(start, stop, count)


def columns_of(x: list[str] | None) -> str | list[str] | None:
    """Return what --x named: one column by its name, several as a list."""
    return x[0] if x and len(x) == 1 else x


def stem_of(source: str) -> str:
    """Return what files about a problem are called."""
    if source == "-":
        return "stdin"
    if source.lower().endswith(".csv") or Path(source).is_file():
        return Path(source).stem
    return source.rpartition(":")[2].partition("(")[0].replace("/", "-")
