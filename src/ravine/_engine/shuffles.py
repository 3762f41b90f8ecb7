"""The rows that shuffling DataLoaders deal out to many runs, by the very random numbers that they draw."""

from __future__ import annotations

from functools import cache

import numpy as np
import torch
from numpy.typing import NDArray

from ravine._descent.feed import Feed


class Shuffles:
    """The batches of many runs, an epoch of all of them at a time; runs of one seed share theirs.

    Examples
    --------
    >>> shuffles = Shuffles(5, 2, np.array([1, 7, 1]))
    >>> [tuple(shuffles.rows(step).shape) for step in range(3)], shuffles.place.tolist()
    ([(2, 2), (2, 2), (2, 1)], [0, 1, 0])
    """

    def __init__(self, samples: int, batch_size: int, seeds: NDArray[np.int64]) -> None:
        self.samples, self.batch_size = samples, batch_size
        distinct, place = np.unique(seeds, return_inverse=True)
        self.place = torch.from_numpy(place)
        self.generators = [torch.Generator().manual_seed(seed) for seed in distinct.tolist()]
        self.order = torch.empty(len(distinct), samples, dtype=torch.int64)

    def rows(self, step: int) -> torch.Tensor:
        """Return the rows of a step's batch, (seeds, samples of the batch); steps are asked for in turn, from 0."""
        first = step % -(-self.samples // self.batch_size) * self.batch_size
        if first == 0:
            self._shuffle()
        return self.order[:, first : first + self.batch_size]

    def _shuffle(self) -> None:
        """Draw what a DataLoader draws in an epoch: a seed for its workers, the order, and one more that nobody sees.

        The last is the sampler's, which asks for the samples beyond the last whole epoch, of which there are none.
        """
        base, unseen = torch.empty((), dtype=torch.int64), torch.empty(self.samples, dtype=torch.int64)
        for generator, order in zip(self.generators, self.order, strict=True):
            base.random_(generator=generator)
            torch.randperm(self.samples, generator=generator, out=order)
            torch.randperm(self.samples, generator=generator, out=unseen)


@cache
def deals_as_torch() -> bool:
    """Tell whether this torch's own DataLoader deals out these rows, by three epochs of it.

    Examples
    --------
    >>> deals_as_torch()
    True
    """
    numbers, seeds = torch.arange(7.0)[:, None], [3, 2**31 - 1]
    shuffles = Shuffles(len(numbers), 3, np.array(seeds))
    feeds = [Feed(3, seed, 1).deal_from(numbers, numbers) for seed in seeds]
    return all(
        torch.equal(numbers[rows], inputs)
        for step in range(9)
        for rows, (inputs, _) in zip(shuffles.rows(step), (next(feed) for feed in feeds), strict=True)
    )
