"""Small helps for saying things to people."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence

__all__ = ["by_label", "hint", "listed"]


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


def by_label(labels: Sequence[str], words: Sequence[str]) -> str | dict[str, str]:
    """Say one thing for all, or each with its label.

    Examples
    --------
    >>> by_label("ab", ["fast", "fast"]), by_label("ab", ["fast", "slow"])
    ('fast', {'a': 'fast', 'b': 'slow'})
    """
    return words[0] if len(set(words)) == 1 else dict(zip(labels, words, strict=True))
