"""Transformers built from their configs: recorded, on a plane, and each point equal to the model with these parameters.

Nothing is downloaded. Like all of `checks`, it guards no change (`make third-party`).
"""

from __future__ import annotations

import contextlib
import copy
from typing import Any

import numpy as np
import pytest
import torch

import ravine

transformers = pytest.importorskip("transformers")

SIZES = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}
PADDING = -100


def make_bert() -> torch.nn.Module:
    config = transformers.BertConfig(vocab_size=40, num_labels=3, max_position_embeddings=16, **SIZES)
    return transformers.BertForSequenceClassification(config)


def make_gpt2() -> torch.nn.Module:
    """Its last layer is its embedding."""
    config = transformers.GPT2Config(vocab_size=40, n_embd=16, n_layer=2, n_head=2, n_positions=16)
    return transformers.GPT2LMHeadModel(config)


def make_batches(name: str) -> list[dict[str, torch.Tensor]]:
    """Four batches of dict entries, the last of which is ragged; of the language model some words are padding."""
    generator = torch.Generator().manual_seed(0)
    words = torch.randint(1, 40, (26, 10), generator=generator)
    mask = (torch.arange(10) < torch.randint(4, 11, (26, 1), generator=generator)).long()
    labels = torch.where(mask.bool(), words, PADDING) if name == "GPT-2" else words[:, 0] % 3
    whole = {"input_ids": words, "attention_mask": mask, "labels": labels}
    return [{key: each[k : k + 8] for key, each in whole.items()} for k in range(0, 26, 8)]


MODELS = {"BERT": make_bert, "GPT-2": make_gpt2}


@pytest.fixture(params=MODELS)
def trained(request: pytest.FixtureRequest) -> Any:
    """A model that was trained with dropout, its batches, its recording, and the same training without a recorder."""
    batches, left = make_batches(request.param), []
    for recorded in (True, False):
        with torch.random.fork_rng():
            torch.manual_seed(0)
            model = MODELS[request.param]().train()
            rule = torch.optim.AdamW(model.parameters(), lr=1e-2)
            recorder = ravine.record(model, rule, every=1)
            with recorder if recorded else contextlib.nullcontext():
                for batch in batches:
                    rule.zero_grad()
                    model(**batch).loss.backward()
                    rule.step()
            left.append((model, torch.get_rng_state(), recorder))
    (model, state, recorder), (alone, other, _) = left
    assert torch.equal(state, other)
    for one, two in zip(model.parameters(), alone.parameters(), strict=True):
        assert torch.equal(one, two)
    return model, batches, recorder.dataset()


def loss_at(model: torch.nn.Module, batches: list[dict[str, torch.Tensor]], place: torch.Tensor) -> float:
    """Set the parameters, and call the model on each batch: weighted by what its loss is the mean of."""
    plain, at = copy.deepcopy(model).eval(), 0
    whole = count = 0.0
    with torch.no_grad():
        for leaf in plain.parameters():
            leaf.copy_(place[at : at + leaf.numel()].view_as(leaf))
            at += leaf.numel()
        assert at == len(place)
        for batch in batches:
            labels = batch["labels"]
            counted = float((labels[:, 1:] != PADDING).sum()) if labels.ndim > 1 else float(len(labels))
            whole, count = whole + float(plain(**batch).loss) * counted, count + counted
    return whole / count


def test_each_point_is_the_model_with_these_parameters(trained: Any) -> None:
    model, batches, run = trained
    before = {name: value.clone() for name, value in model.state_dict().items()}
    problem = ravine.Problem.of(model, None, batches)
    assert problem.size == sum(each.numel() for each in model.parameters())  # what is tied counts once
    for plane in (ravine.Plane.random(problem), ravine.Plane.ends(run)):
        land = ravine.surface(problem, plane=plane, points=2).surface
        for row, y in enumerate(land[plane.axes[1]].values):
            for column, x in enumerate(land[plane.axes[0]].values):
                assert float(land[row, column]) == loss_at(model, batches, torch.from_numpy(plane.at(x, y)))
    path = ravine.Plane.ends(run).project(run, problem)
    for step in range(path.sizes["step"]):
        expected = loss_at(model, batches, torch.from_numpy(np.array(run.position[step])))
        assert float(path.loss[step]) == expected
    assert path.drawn_loss[0] == path.loss[0]
    assert path.drawn_loss[-1] == path.loss[-1]
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert all(each.training for each in model.modules())


def test_it_is_drawn_and_its_curvature_known(trained: Any) -> None:
    """Second derivatives of attention need the math kernel."""
    model, batches, run = trained
    problem = ravine.Problem.of(model, None, batches)
    plane = ravine.Plane.ends(run)
    figure = ravine.plot.descent(plane.project(run, problem), ravine.surface(problem, plane=plane, points=5))
    assert figure.axes
    assert np.isfinite(float(ravine.sharpness(problem, run, steps=[0])[0]))
    assert set(run.layer.values) <= {name for name, _ in model.named_modules()}
    figure = ravine.plot.layers(run)
    assert len([line for line in figure.axes[0].lines if line.get_gid() in run.layer.values]) == run.sizes["layer"]
