"""Callbacks where no trainer is installed, and what they do when one calls them; checks/ runs them under real ones."""

from __future__ import annotations

import copy
import importlib
import sys
from types import SimpleNamespace

import numpy as np
import pytest
import torch

import ravine
from ravine._record.budget import Budget
from ravine.trainers import _callback, _hugging_face, _lightning

pytestmark = pytest.mark.filterwarnings("ignore:the recording heard no loss", "ignore:the recording saw no step")
"""Most look at positions alone."""


@pytest.fixture(autouse=True)
def seeded():
    with torch.random.fork_rng():
        torch.manual_seed(7)
        yield


@pytest.mark.parametrize(
    ("module", "name", "needs"),
    [(_lightning, "Lightning", "lightning"), (_hugging_face, "HuggingFace", "transformers")],
    ids=["lightning", "transformers"],
)
def test_without_the_package_one_line_says_what_to_install(module, name, needs, monkeypatch):
    for each in ("lightning", "lightning.pytorch", "pytorch_lightning", "transformers"):
        monkeypatch.setitem(sys.modules, each, None)
    kind = getattr(importlib.reload(module), name)
    with pytest.raises(ImportError, match=rf"trainers\.{name} needs the package {needs}: pip install 'ravine\[train"):
        kind()
    monkeypatch.undo()
    importlib.reload(module)


def test_names_that_are_no_callbacks():
    assert {"Lightning", "HuggingFace"} <= set(dir(ravine.trainers))
    with pytest.raises(AttributeError, match=r"module 'ravine\.trainers' has no attribute 'Keras'"):
        ravine.trainers.Keras  # noqa: B018


def test_the_base_is_that_of_the_package_that_is_used_already(monkeypatch):
    for name in ("one_trainer", "other_trainer"):
        monkeypatch.setitem(sys.modules, name, SimpleNamespace(Callback=name))
    assert _callback.find_base(("one_trainer", "other_trainer"), "Callback") == "one_trainer"
    monkeypatch.delitem(sys.modules, "one_trainer")
    assert _callback.find_base(("one_trainer", "other_trainer"), "Callback") == "other_trainer"


class Callback:
    """A trainer's base class."""


@pytest.fixture
def lightning(monkeypatch):
    monkeypatch.setitem(sys.modules, "lightning.pytorch", SimpleNamespace(Callback=Callback))
    yield importlib.reload(_lightning).Lightning
    monkeypatch.undo()
    importlib.reload(_lightning)


@pytest.fixture
def hugging_face(monkeypatch):
    monkeypatch.setitem(sys.modules, "transformers", SimpleNamespace(TrainerCallback=Callback))
    yield importlib.reload(_hugging_face).HuggingFace
    monkeypatch.undo()
    importlib.reload(_hugging_face)


@pytest.mark.parametrize("scale", [None, 1024.0])
def test_the_loss_is_what_the_step_returned(lightning, scale):
    """It is divided by the accumulated batches, and scaled in half precision, before a callback sees it."""
    callback, module = lightning(every=1), torch.nn.Linear(2, 1)
    assert isinstance(callback, Callback)
    module.automatic_optimization = True
    rule = torch.optim.SGD(module.parameters(), lr=0.1)
    scaler = None if scale is None else SimpleNamespace(get_scale=lambda: scale)
    trainer = SimpleNamespace(
        is_global_zero=True, optimizers=[rule], global_step=5, accumulate_grad_batches=2,
        precision_plugin=SimpleNamespace(scaler=scaler),
    )  # fmt: skip
    callback.on_train_start(trainer, module)
    seen = []
    for _ in range(3):
        for _ in range(2):
            loss = module(torch.randn(4, 2)).square().mean()
            seen.append(loss.item())
            callback.on_before_backward(trainer, module, loss / 2 * (scale or 1))
            (loss / 2).backward()
        rule.step()
        rule.zero_grad()
    callback.on_exception(trainer, module, KeyboardInterrupt())
    callback.on_train_end(trainer, module)
    run = callback.recorder.dataset()
    assert run.step.values.tolist() == [5, 6, 7, 8]
    assert np.allclose(run.batch_loss[:-1], np.reshape(seen, (3, 2)).mean(axis=1), rtol=1e-6)


def test_processes_but_the_first_record_nothing(lightning):
    callback = lightning()
    callback.on_train_start(SimpleNamespace(is_global_zero=False), None)
    callback.on_before_backward(None, None, torch.ones(()))
    callback.on_train_end(None, None)
    with pytest.raises(RuntimeError, match="no training has begun yet"):
        callback.recorder  # noqa: B018


def test_the_pace_of_a_resumed_training_is_that_of_its_own_steps(lightning, monkeypatch):
    seen = []
    monkeypatch.setattr(Budget, "is_free", False)
    monkeypatch.setattr(Budget, "cost_in_steps", lambda budget, steps: seen.append(steps) or 0.0)
    monkeypatch.setattr(Budget, "hurries", lambda budget, steps: seen.append(steps) or True)
    callback, module = lightning(), torch.nn.Linear(2, 1)
    rule = torch.optim.SGD(module.parameters(), lr=0.1)
    callback.on_train_start(SimpleNamespace(is_global_zero=True, optimizers=[rule], global_step=1000), module)
    for _ in range(3):
        module(torch.ones(1, 2)).sum().backward()
        rule.step()
    callback.on_train_end(None, module)
    assert seen == [1, 1, 2, 2, 3, 3]
    assert callback.recorder.dataset().step.values[-1] == 1003


def train_once(callback, module, steps=2):
    rule = torch.optim.SGD(module.parameters(), lr=0.1)
    callback.on_train_start(SimpleNamespace(is_global_zero=True, optimizers=[rule], global_step=0), module)
    for _ in range(steps):
        module(torch.ones(1, 2)).sum().backward()
        rule.step()
    callback.on_train_end(None, module)


def test_a_second_training_goes_on_where_the_path_is_taken(lightning, tmp_path):
    callback, module = lightning(path=tmp_path / "run"), torch.nn.Linear(2, 1)
    train_once(callback, module)
    before = module.weight.clone()
    with pytest.warns(UserWarning, match="this training goes on, and is not recorded: .*run exists already"):
        train_once(callback, module)
    assert not torch.equal(before, module.weight)
    with pytest.raises(RuntimeError, match=r"began last was not recorded \(.*exists already.*ravine\.open\)"):
        callback.recorder  # noqa: B018
    assert ravine.open(tmp_path / "run").step.values.tolist() == [0, 1, 2]


def test_callbacks_leave_positions_out_where_they_are_asked_to(lightning, hugging_face):
    callback, model = lightning(positions=False), torch.nn.Linear(2, 1)
    train_once(callback, model)
    assert "position" not in callback.recorder.dataset()
    callback, rule = hugging_face(positions=False), torch.optim.SGD(model.parameters(), lr=0.1)
    state = SimpleNamespace(is_world_process_zero=True, global_step=0)
    callback.on_train_begin(None, state, None, model=model, optimizer=rule)
    callback.on_train_end(None, state, None)
    assert "position" not in callback.recorder.dataset()


def test_the_scale_is_asked_for_where_a_snapshot_is_due_alone(lightning):
    callback, module, asked = lightning(every=3), torch.nn.Linear(2, 1), []
    module.automatic_optimization = True
    rule = torch.optim.SGD(module.parameters(), lr=0.1)
    scaler = SimpleNamespace(get_scale=lambda: asked.append(callback.recorder.steps) or 1.0)
    trainer = SimpleNamespace(
        is_global_zero=True, optimizers=[rule], global_step=0, accumulate_grad_batches=1,
        precision_plugin=SimpleNamespace(scaler=scaler),
    )  # fmt: skip
    callback.on_train_start(trainer, module)
    for _ in range(7):
        loss = module(torch.ones(1, 2)).square().mean()
        callback.on_before_backward(trainer, module, loss)
        loss.backward()
        rule.step()
    callback.on_train_end(trainer, module)
    assert asked == [0, 3, 6]


def test_an_error_in_a_callback_ends_the_recording_and_not_the_training(lightning):
    callback, module = lightning(), torch.nn.Linear(2, 1)
    rule = torch.optim.SGD(module.parameters(), lr=0.1)
    callback.on_train_start(SimpleNamespace(is_global_zero=True, optimizers=[rule], global_step=0), module)
    with pytest.warns(UserWarning, match="the recording stopped after step 0"):
        callback.on_before_backward(SimpleNamespace(), module, torch.ones(()))
    callback.on_train_end(None, module)


class Weighted(torch.nn.Module):
    """Divides each term by a number of its own."""

    def __init__(self):
        super().__init__()
        self.inner = torch.nn.Linear(2, 1)

    def forward(self, x, num_items_in_batch=None):
        return {"loss": (self.inner(x).square() / torch.arange(1.0, 1.0 + len(x))[:, None]).sum()}


@pytest.mark.parametrize("count", [3, torch.tensor(3), torch.tensor([3, 3]), "three"], ids=str)
def test_a_divisor_or_a_count_of_another_kind_leaves_the_training_alone(hugging_face, count):
    callback, model = hugging_face(every=1), Weighted()
    rule = torch.optim.SGD(model.parameters(), lr=0.1)
    state = SimpleNamespace(is_world_process_zero=True, global_step=0)
    callback.on_train_begin(None, state, None, model=model, optimizer=rule)
    loss = model(torch.ones(3, 2), num_items_in_batch=count)["loss"]
    loss.backward()
    callback.on_pre_optimizer_step(None, state, None)
    rule.step()
    callback.on_train_end(None, state, None)
    assert callback.recorder.dataset().batch_loss[0].item() == pytest.approx(loss.item(), rel=1e-6)
    assert not callback.recorder.stopped


class Model(torch.nn.Module):
    """Averages over its own samples, or over those of the whole update, of which it is told."""

    def __init__(self, shares):
        super().__init__()
        self.inner, self.shares = torch.nn.Linear(2, 1), shares

    def forward(self, x, num_items_in_batch=None):
        terms = self.inner(x).square()
        return {"loss": terms.sum() / num_items_in_batch if self.shares else terms.mean()}


@pytest.mark.parametrize("shares", [False, True])
@pytest.mark.parametrize("count", [8, torch.tensor(8)], ids=["number", "tensor"])
def test_losses_of_accumulated_batches_are_one(hugging_face, shares, count):
    callback, model = hugging_face(every=1), Model(shares)
    rule = torch.optim.SGD(model.parameters(), lr=0.1)
    state = SimpleNamespace(is_world_process_zero=True, global_step=0)
    callback.on_train_begin(None, state, None, model=model, optimizer=rule, train_dataloader=None)
    expected = []
    for _ in range(3):
        rows = torch.randn(8, 2)
        expected.append(model.inner(rows).square().mean().item())
        for part in (rows[:4], rows[4:]):
            model(part, num_items_in_batch=count)["loss"].backward()
            with torch.no_grad():
                model(part + 1, num_items_in_batch=count)  # an evaluation
        twin = copy.deepcopy(model)
        assert model._forward_hooks_with_kwargs
        assert not {**twin._forward_hooks, **twin._forward_hooks_with_kwargs}
        callback.on_pre_optimizer_step(None, state, None)
        rule.step()
        rule.zero_grad()
    callback.on_train_end(None, state, None)
    run = callback.recorder.dataset()
    assert np.allclose(run.batch_loss[:-1], expected, rtol=1e-6)
    assert not model._forward_hooks
