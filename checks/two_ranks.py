"""A training on two processes under DistributedDataParallel, of which the first records. Run by test_ranks.py."""

from __future__ import annotations

import json
import os
import sys
from contextlib import nullcontext
from datetime import timedelta
from pathlib import Path

import torch
from torch import distributed
from torch.nn.parallel import DistributedDataParallel

import ravine

STEPS, TURNS = 5, 2


def train(folder, rank, recorded):
    """Train with two batches accumulated before each step; return the parameters of every step, and the recorder."""
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.BatchNorm1d(4), torch.nn.Tanh(), torch.nn.Linear(4, 2))
    parallel = DistributedDataParallel(model)
    criterion = torch.nn.CrossEntropyLoss()
    optimizer = torch.optim.AdamW(parallel.parameters(), lr=0.05)
    generator = torch.Generator().manual_seed(7 + rank)  # each process has data of its own
    places, losses = [], []
    recording = ravine.record(parallel, optimizer, criterion, every=1, path=folder / "run.recording")
    with recording if recorded and rank == 0 else nullcontext() as recorder:
        for _ in range(STEPS):
            places.append(torch.nn.utils.parameters_to_vector(model.parameters()).tolist())
            optimizer.zero_grad()
            for turn in range(TURNS):
                x, y = torch.randn(8, 3, generator=generator), torch.randint(0, 2, (8,), generator=generator)
                with parallel.no_sync() if turn + 1 < TURNS else nullcontext():
                    loss = criterion(parallel(x), y)
                    losses.append(float(loss.detach()))
                    loss.backward()
            optimizer.step()
    places.append(torch.nn.utils.parameters_to_vector(model.parameters()).tolist())
    return places, losses, recorder, parallel


def main(folder):
    """Be two processes; each writes what it has found."""
    folder = Path(folder)
    torch.set_num_threads(1)
    other = os.fork()
    rank = 0 if other else 1
    distributed.init_process_group(
        "gloo", f"file://{folder / 'meeting'}", timedelta(seconds=60), world_size=2, rank=rank
    )
    bare = train(folder, rank, recorded=False)
    places, losses, recorder, parallel = train(folder, rank, recorded=True)
    found = {"places": places, "losses": losses, "bare": bare[0]}
    if recorder is not None:
        run = recorder.dataset()
        # what comes next is rank 0's alone: nothing may wait for the other
        data = torch.randn(20, 3), torch.randint(0, 2, (20,))
        path = ravine.Plane.ends(run).project(run, ravine.Problem.of(parallel, torch.nn.CrossEntropyLoss(), data))
        found |= {
            "position": run.position.values.tolist(),
            "step": run.step.values.tolist(),
            "batch_loss": run.batch_loss.values.tolist(),
            "labels": [str(each) for each in run.parameter.values],
            "loss": path.loss.values.tolist(),
        }
    (folder / f"{rank}.json").write_text(json.dumps(found))
    distributed.barrier()
    distributed.destroy_process_group()
    if not other:
        os._exit(0)
    os.waitpid(other, 0)


if __name__ == "__main__":
    main(*sys.argv[1:])
