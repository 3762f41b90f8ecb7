"""All runs of a block on mini-batches: each on those of its own seed, as a DataLoader deals them out."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from ravine._engine.batched import BatchEngine, StepEvaluation
from ravine._engine.job import Job
from ravine._engine.keep import Buffer
from ravine._engine.on_batches import NeuronOnBatches, Trial
from ravine._engine.shuffles import Shuffles
from ravine._problem.order import Evaluate, TorchValues, has_bits
from ravine._torch import one_thread


class DealtEngine(BatchEngine):
    """The optimizer's rule on gradients of batches; the loss over all data is evaluated beside them."""

    def __init__(
        self, engine: BatchEngine, on_batches: Evaluate, trials: Sequence[Trial], probes: Sequence[TorchValues]
    ) -> None:
        self.__dict__.update(engine.__dict__)
        self.name = f"{engine.name}, on mini-batches"
        self.on_batches, self.trials, self.probes = on_batches, trials, probes

    def say_orders(self, runs: int) -> str:
        """Say whether gradients of batches have torch's bits, and in which order of operations."""
        told = []
        with torch.no_grad(), one_thread():
            for trial in self.trials:
                if isinstance(self.on_batches, NeuronOnBatches):
                    order = self.on_batches.order_of(trial.size, runs)
                    equal, how = order.equal, f": {order}"
                else:
                    equal, how = has_bits(trial.by(self.on_batches), trial.values, runs), ""
                bits = "every bit" if equal else "not every bit"
                told.append(f"on batches of {trial.size:,} {bits}{how}")
        return "; ".join(told)

    def probed(self) -> list[tuple[Evaluate, TorchValues]]:
        """Return its evaluations, those on batches too, each with what it gave where it was made."""
        pairs = zip(self.trials, self.probes, strict=True)
        return [*super().probed(), *((trial.by(self.on_batches), probe) for trial, probe in pairs)]

    def evaluation(self, job: Job, numbers: NDArray[np.int64], record: Buffer) -> StepEvaluation:
        """Return what evaluates the loss over all data, and the gradient on the batch of the step."""
        parts, feed = self.reference.problem.parts, job.spec.feed
        assert parts is not None
        assert feed is not None
        shuffles = Shuffles(len(parts.inputs), feed.batch_size, job.seeds_of(numbers % job.inner.size))
        kept, losses_of_batch = record.also.get("batch_loss"), job.like.new_empty(len(numbers))

        def evaluate(step: int, position: torch.Tensor, losses: torch.Tensor) -> torch.Tensor | None:
            self.evaluate(position, losses, False)
            if step == job.steps:
                if kept is not None:
                    kept[step] = torch.nan
                return None
            rows = shuffles.rows(step)
            own = (data[rows].index_select(0, shuffles.place) for data in (parts.inputs, parts.targets))
            gradient = self.on_batches(position, losses_of_batch, True, *own)
            if kept is not None:
                kept[step] = losses_of_batch[: record.count]
            return gradient

        return evaluate
