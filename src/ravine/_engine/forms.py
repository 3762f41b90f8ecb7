"""Ways to the same numbers, of which the first is taken that has the bits of torch's calls for a single run."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping

import torch

from ravine._problem.order import same_bits

Form = Callable[[], torch.Tensor]
"""A way to a product."""

KERNEL = "compiled"
AT_ONCE = "at once"
TRANSPOSED_PRODUCT = "transposed at once"
ELEMENTWISE_PRODUCT = "multiplied at once"
RUN_AFTER_RUN = "run after run"
ONE_BY_ONE = "one by one"
"""Ways by which products, sums and activations of many runs are taken."""


class Forms:
    """The form that was chosen of each operation, for each number of samples."""

    def __init__(self) -> None:
        self.chosen: dict[tuple[int, str], str] = {}

    def take(self, samples: int, name: str, forms: Mapping[str, Form]) -> torch.Tensor:
        """Take the form that was chosen; where none was yet, the first that has the bits of the last, one by one."""
        if (samples, name) in self.chosen:
            return forms[self.chosen[samples, name]]()
        expected = forms[ONE_BY_ONE]().clone()
        equal = (how for how, form in forms.items() if how != ONE_BY_ONE and _writes(form, expected))
        self.chosen[samples, name] = next(equal, ONE_BY_ONE)
        return forms[self.chosen[samples, name]]()

    def __str__(self) -> str:
        """Say how many products, sums and activations are taken in which way."""
        counts = Counter(self.chosen.values())
        ways = (KERNEL, AT_ONCE, TRANSPOSED_PRODUCT, ELEMENTWISE_PRODUCT, RUN_AFTER_RUN, ONE_BY_ONE)
        words = [f"{counts[how]} {how}" for how in ways if counts[how]]
        noun = " operation " if words[0].startswith("1 ") else " operations "
        return ", ".join([words[0].replace(" ", noun, 1), *words[1:]])


def _writes(form: Form, expected: torch.Tensor) -> bool:
    """Tell whether a form writes these bits; what stood there before counts for nothing."""
    form().fill_(torch.nan)
    return same_bits(form(), expected)
