"""Third-party optimizers: what ravine records is what a bare loop over the same class does.

Third-party packages come and go, so this stands in a job of its own (`make third-party`) and guards no change.
"""

from __future__ import annotations

import pytest
import torch

import ravine

package = pytest.importorskip("pytorch_optimizer")

CLASSES = {
    "AdaBelief": {"lr": 0.05},
    "AdaBound": {"lr": 0.05},
    "Adan": {"lr": 0.05},
    "AdamP": {"lr": 0.05},
    "DiffGrad": {"lr": 0.05},
    "Lamb": {"lr": 0.05},
    "Lion": {"lr": 0.01},
    "MADGRAD": {"lr": 0.01},
    "QHAdam": {"lr": 0.05},
    "Tiger": {"lr": 0.01},
    "Yogi": {"lr": 0.05},
}


@pytest.mark.filterwarnings("default")
@pytest.mark.parametrize("name", CLASSES)
@pytest.mark.parametrize("problem", ["article", "rosenbrock"])
def test_equals_a_bare_loop_in_every_bit(name, problem):
    kind, settings = getattr(package, name), CLASSES[name]
    chosen = ravine.gallery.article()["MSELoss"] if problem == "article" else ravine.gallery.rosenbrock()
    run = ravine.descend(chosen, kind, steps=20, **settings)
    live = chosen.live()
    leaves = list(live.leaves.values())
    rule = kind(leaves, **settings)
    positions = [torch.cat([leaf.detach().reshape(-1) for leaf in leaves])]
    with torch.random.fork_rng():
        for _ in range(20):
            rule.zero_grad()
            live.loss().backward()
            rule.step()
            positions.append(torch.cat([leaf.detach().reshape(-1) for leaf in leaves]))
    assert torch.equal(torch.from_numpy(run.position.values), torch.stack(positions))
    assert str(run.optimizer.values) == name


WANTS = (
    {},
    {"create_graph": True},
    {"groups": {"*": {"use_muon": False}}},
    {"num_iterations": 3},
    {"num_data": 16},
)
"""What some of them cannot do without: gradients that can be differentiated, or settings without a default."""


@pytest.mark.filterwarnings("ignore")
def test_nearly_all_run():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        inputs = torch.randn(16, 2)
        deep = torch.nn.Sequential(torch.nn.Linear(2, 4), torch.nn.Tanh(), torch.nn.Linear(4, 1))
        matrices = torch.nn.Sequential(torch.nn.Linear(2, 4, bias=False), torch.nn.Linear(4, 1, bias=False))
    data = inputs, inputs[:, :1] * inputs[:, 1:]
    problems = [ravine.Problem.of(each, torch.nn.MSELoss(), data) for each in (deep, matrices)]
    refused = {}
    for name in package.get_supported_optimizers():
        kind = package.load_optimizer(name)
        for problem, wants in [(problems[0], wants) for wants in WANTS] + [(problems[1], {})]:
            try:
                run = ravine.descend(problem, kind, steps=3, **wants)
            except Exception as reason:
                refused.setdefault(name, []).append(str(reason))
            else:
                assert run.sizes["step"] == 4
                refused.pop(name, None)
                break
    count = len(package.get_supported_optimizers())
    assert count - len(refused) >= 122, f"{count - len(refused)} of {count} run, not {refused}"
    assert all(all(words) for words in refused.values())  # whatever cannot be says why
