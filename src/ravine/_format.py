"""Numbers, lists, spans and near misses as people read them."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal

import numpy as np
from numpy.typing import ArrayLike

MINUS = "\N{MINUS SIGN}"
TIMES = "\N{MULTIPLICATION SIGN}"
RAISED = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


def number(value: float, digits: int = 3, *, zeros: bool = False) -> str:
    """Write a number for people: a few digits, thousands with commas, a power of ten only where it is needed.

    Sentences have three digits, pictures and tables four, settings six (`setting`). Every picture, sentence
    and page writes its numbers here; what is to be typed again, as ``SGD(lr=1e-05)``, is written as Python does.

    Parameters
    ----------
    value
        Any number.
    digits
        How many digits count.
    zeros
        Keep zeros at the end, for numbers that stand below each other.

    Examples
    --------
    >>> [number(each) for each in (0.97565, 12.0, 1234567.0, 2.5e-7, 1e9, -0.5)]
    ['0.976', '12', '1,230,000', '2.5 × 10⁻⁷', '10⁹', '−0.5']
    >>> number(344.0, 2), number(999.9), number(0.5, 4, zeros=True), number(float("-inf"))
    ('340', '1,000', '0.5000', '−inf')
    """
    value = float(value)
    if value < 0:
        return MINUS + number(-value, digits, zeros=zeros)
    if not np.isfinite(value) or value == 0:
        return f"{abs(value):g}"
    rounded = float(f"{value:.{digits}g}")
    if 1e-4 <= rounded < 1e7:
        decimals = max(digits - 1 - int(f"{rounded:e}".partition("e")[2]), 0)
        text = f"{rounded:,.{decimals}f}"
        return text if zeros or "." not in text else text.rstrip("0").rstrip(".")
    plain, _, power = f"{value:.{digits - 1}e}".partition("e")
    plain = plain if zeros or "." not in plain else plain.rstrip("0").rstrip(".")
    raised = f"10{str(int(power)).translate(RAISED)}"
    return raised if plain == "1" else f"{plain} {TIMES} {raised}"


def setting(value: object) -> str:
    """Write the value of a setting, with as many digits as tell it from its neighbours; labels as they are.

    Examples
    --------
    >>> setting(0.1), setting(1e-5), setting(0.123456789), setting(10_000), setting(True), setting("Adam")
    ('0.1', '10⁻⁵', '0.123457', '10000', 'True', 'Adam')
    """
    return number(float(value), 6) if isinstance(value, float | np.floating) else str(value)


def steps(count: float) -> str:
    """Write a step's number, whole.

    Examples
    --------
    >>> steps(1204.0)
    '1,204'
    """
    return f"{int(count):,}"


def so_many(count: float) -> str:
    """Write how many steps.

    Examples
    --------
    >>> so_many(1), so_many(1204)
    ('1 step', '1,204 steps')
    """
    return f"{steps(count)} step" + "s" * (count != 1)


def duration(seconds: float) -> str:
    """Write how long something takes, in whole units of two figures at most.

    Examples
    --------
    >>> duration(4.2), duration(95), duration(5000), duration(360_000)
    ('4 seconds', '1.6 minutes', '83 minutes', '100 hours')
    """
    size, unit = next(((s, u) for s, u in ((3600, "hours"), (60, "minutes")) if seconds >= 1.5 * s), (1, "seconds"))
    return f"{number(seconds / size, digits=2 if size > 1 else 1)} {unit}"


def percent(share: float, digits: int = 2) -> str:
    """Write a share in percent.

    Examples
    --------
    >>> percent(0.0513), percent(0.9999), percent(1.0)
    ('5.1 %', '99.99 %', '100 %')
    """
    if 0.99 < share < 1:  # 99.99 % is not 100 %
        if 1 - share < 1e-6:
            return "just under 100 %"
        return f"{100 - float(f'{100 * (1 - share):.1g}'):g} %"
    return f"{number(float(f'{100 * share:.{digits}g}'))} %"


def times(factor: float) -> str:
    """Write how many times.

    Examples
    --------
    >>> times(9.757), times(14.1), times(130.2)
    ('9.8 times', '14 times', '130 times')
    """
    return f"{number(float(f'{factor:.2g}'))} times"


def span(values: ArrayLike) -> str:
    """Write numbers as one, or from the least to the largest.

    Examples
    --------
    >>> span([17.12, 13.51]), span([4.0, 4.0001])
    ('13.5 to 17.1', '4')
    """
    low, high = number(float(np.min(values))), number(float(np.max(values)))
    return low if low == high else f"{low} to {high}"


def between(low: float, high: float) -> str:
    """Write within which numbers something stays, both rounded outwards.

    Examples
    --------
    >>> between(0.5, 2.02), between(0.04926, 0.05134), between(2.0191, 2.0192)
    ('between 0.5 and 2.02', 'between 0.0492 and 0.0514', 'of 2.02')
    """
    least, most = number(low), number(high)
    return f"of {least}" if least == most else f"between {at_least(low)} and {at_most(high)}"


def at_most(value: float, digits: int = 3) -> str:
    """Write a bound from above: rounded up, so that what keeps to the value keeps to what is written.

    Examples
    --------
    >>> at_most(0.91061, 2), at_most(0.5, 2), at_most(1234.5), at_most(-0.123)
    ('0.92', '0.5', '1,240', '−0.123')
    """
    return _outwards(value, digits, ROUND_CEILING)


def percent_at_most(share: float) -> str:
    """Write a share in percent as a bound from above; close to all of it with the digits that tell it from that.

    Examples
    --------
    >>> percent_at_most(0.1341), percent_at_most(0.5), percent_at_most(0.99991)
    ('14 %', '50 %', '99.991 %')
    """
    return f"{at_most(100 * share, 2 if share <= 0.99 else 5)} %"


def at_least(value: float, digits: int = 3) -> str:
    """Write a bound from below: rounded down.

    Examples
    --------
    >>> at_least(0.97565), at_least(2.0)
    ('0.975', '2')
    """
    return _outwards(value, digits, ROUND_FLOOR)


def _outwards(value: float, digits: int, way: str) -> str:
    if not np.isfinite(value) or value == 0:
        return number(value, digits)
    exact = Decimal(float(value))
    rounded = exact.quantize(Decimal(1).scaleb(exact.adjusted() - digits + 1), way)
    near = Decimal(f"{float(value):.{digits + 9}g}")  # 0.1 is no less than 0.1
    if abs(near - exact) <= abs(exact) * Decimal("1e-12") and near == Decimal(f"{near:.{digits}g}"):
        rounded = near
    return number(float(rounded), digits + 1)


def told_apart(value: float, other: float, digits: int = 3, most: int = 7) -> tuple[str, str] | None:
    """Write two numbers with as many digits as tell them apart, and each on its side of the other; None beyond `most`.

    Examples
    --------
    >>> told_apart(0.1, 0.976), told_apart(57.3941, 57.3938), told_apart(1.0, 1.0 + 1e-12)
    (('0.1', '0.976'), ('57.3941', '57.3938'), None)
    """
    for count in range(digits, most + 1):
        one, two = (float(f"{each:.{count}g}") for each in (value, other))
        if one != two and (one < two) == (value < other):
            return number(value, count), number(other, count)
    return None


def names(words: Sequence[str]) -> str:
    """Join names as a sentence does.

    Examples
    --------
    >>> names(["a"]), names(["a", "b"]), names(["a", "b", "c"])
    ('a', 'a and b', 'a, b and c')
    """
    return f"{', '.join(words[:-1])} and {words[-1]}" if len(words) > 1 else "".join(words)


def place(labels: Sequence[str], values: ArrayLike) -> str:
    """Write a place by its labels, where there are few.

    Examples
    --------
    >>> place(("weight", "bias"), [0.30011, 1.2128])
    '(weight 0.3, bias 1.21)'
    """
    numbers = np.asarray(values, dtype=float)
    if len(numbers) > 3:
        return f"a place {number(float(np.linalg.norm(numbers)))} from the origin"
    return "(" + ", ".join(f"{label} {number(each)}" for label, each in zip(labels, numbers, strict=True)) + ")"


def hint(name: str, known: Iterable[str]) -> str:
    """Return the names nearest to a mistyped one, as the end of an error message.

    Examples
    --------
    >>> hint("HubertLoss", ["MSELoss", "HuberLoss"])
    ' (did you mean HuberLoss?)'
    >>> hint("zzz", ["MSELoss"])
    ''
    """
    # torch's names differ by case and ending: "huber" must find HuberLoss
    by_lower = {each.lower(): each for each in known}
    close = [by_lower[k] for k in by_lower if name.lower() and k.startswith(name.lower())]
    close += [by_lower[k] for k in difflib.get_close_matches(name.lower(), list(by_lower), n=3)]
    return f" (did you mean {' or '.join(dict.fromkeys(close))}?)" if close else ""


def kind_of(value: object) -> str:
    """Name what was given where something else was expected: short values as they are written, others by their kind.

    Examples
    --------
    >>> kind_of(None), kind_of(3), kind_of("x"), kind_of([1, 2]), kind_of(np.zeros(3)), kind_of(dict)
    ('None', '3', "'x'", 'the list [1, 2]', 'an array of shape (3,)', 'the class dict')
    """
    kind = type(value)
    home, name = kind.__module__.partition(".")[0], kind.__name__
    if value is None or isinstance(value, bool | int | float | str | bytes):
        said = repr(value)
        return said if len(said) <= MOST_OF_A_VALUE else f"{said[:MOST_OF_A_VALUE]}…"
    if isinstance(value, type):
        return f"the class {value.__name__}"
    if (home, name) == ("ravine", "Problem"):
        return "a ravine.Problem"
    if (home, name) == ("xarray", "Dataset"):
        return "a study (an xarray.Dataset)"
    if isinstance(value, list | tuple | dict | set):
        said = repr(value)
        return f"the {name} {said}" if len(said) <= MOST_OF_A_VALUE else f"a {name} of {len(value)}"
    if isinstance(value, np.ndarray):
        return f"an array of shape {value.shape}"
    if home in ("pandas", "xarray", "torch"):
        return f"a{'n' * (home == 'xarray')} {home}.{name}"
    own = getattr(value, "__name__", None)
    if callable(value) and own:
        return f"the function {own}"
    return f"a{'n' * (name[:1].lower() in 'aeiou')} {name}"


MOST_OF_A_VALUE = 40
"""Characters up to which a value is written out in an error."""


def listed(names: Iterable[object], most: int = 8) -> str:
    """Return names as a list for a sentence, cut short where there are many.

    Examples
    --------
    >>> listed("abc"), listed([]), listed(range(5), most=2)
    ('a, b, c', 'none', '0, 1 and 3 more')
    """
    words = [str(name) for name in names]
    if len(words) > most:
        return f"{', '.join(words[:most])} and {len(words) - most} more"
    return ", ".join(words) or "none"


def share_of(part: int, whole: int) -> str:
    """Say a share in per cent, without rounding a few to none or nearly all to all.

    Examples
    --------
    >>> share_of(1, 3), share_of(1, 1000), share_of(999, 1000)
    ('33 %', 'under 1 %', 'over 99 %')
    """
    percent = round(100 * part / whole)
    if percent == 0 and part:
        return "under 1 %"
    return "over 99 %" if percent == 100 and part < whole else f"{percent} %"
