"""Trainings under Lightning and Hugging Face's Trainer: recorded, and read from their checkpoints; nothing is fetched.

These packages come and go, so this stands in a job of its own (`make third-party`) and guards no change.
"""

from __future__ import annotations

import os

import numpy as np
import pytest
import torch
from matplotlib.text import Text
from sklearn.datasets import load_digits
from torch.utils.data import DataLoader, TensorDataset

import ravine

os.environ["HF_HUB_OFFLINE"] = "1"
lightning = pytest.importorskip("lightning")
transformers = pytest.importorskip("transformers")
pytest.importorskip("accelerate")

pytestmark = pytest.mark.filterwarnings("ignore")  # theirs


@pytest.fixture(scope="module")
def digits():
    held = load_digits()
    images = torch.tensor(held.data[:512], dtype=torch.float32).reshape(-1, 1, 8, 8) / 16
    return TensorDataset(images, torch.tensor(held.target[:512]))


class Digits(lightning.LightningModule):
    """A small convolutional network with BatchNorm and dropout."""

    def __init__(self, criterion=None, rule=torch.optim.AdamW):
        super().__init__()
        self.net = torch.nn.Sequential(
            torch.nn.Conv2d(1, 8, 3, padding=1), torch.nn.BatchNorm2d(8), torch.nn.ReLU(), torch.nn.MaxPool2d(2),
            torch.nn.Flatten(), torch.nn.Dropout(0.1), torch.nn.Linear(128, 10),
        )  # fmt: skip
        self.criterion, self.rule = criterion, rule
        self.seen = []

    def forward(self, x):
        return self.net(x)

    def training_step(self, batch, number):
        x, y = batch
        loss = self.criterion(self(x), y) if self.criterion else torch.nn.functional.cross_entropy(self(x), y)
        self.seen.append(float(loss))
        return loss

    def validation_step(self, batch, number):
        return self.training_step(batch, number) * 0

    def configure_optimizers(self):
        rule = self.rule(self.parameters(), lr=1e-2)
        return [rule], [{"scheduler": torch.optim.lr_scheduler.StepLR(rule, 4, 0.5), "interval": "step"}]


def fit(digits, tmp_path, *callbacks, epochs=2, criterion=None, resume=None, seed=0, **settings):
    lightning.seed_everything(seed, verbose=False)
    module = Digits(criterion)
    trainer = lightning.Trainer(
        max_epochs=epochs, accelerator="cpu", logger=False, enable_progress_bar=False, enable_model_summary=False,
        enable_checkpointing=any(isinstance(each, lightning.pytorch.callbacks.Checkpoint) for each in callbacks),
        callbacks=list(callbacks), default_root_dir=tmp_path, **settings,
    )  # fmt: skip
    trainer.fit(module, DataLoader(digits, 64, shuffle=True), ckpt_path=resume)
    return module, trainer


def equal(one, other):
    return all(torch.equal(a, b) for a, b in zip(one.state_dict().values(), other.state_dict().values(), strict=True))


@pytest.mark.parametrize("accumulated", [1, 2, 3])
@pytest.mark.parametrize("criterion", [None, torch.nn.CrossEntropyLoss()], ids=["returned", "criterion"])
def test_lightning_is_recorded_in_its_own_bits(digits, tmp_path, accumulated, criterion):
    plain, _ = fit(digits, tmp_path, accumulate_grad_batches=accumulated, criterion=criterion)
    callback = ravine.trainers.Lightning(criterion, every=1)
    module, trainer = fit(digits, tmp_path, callback, accumulate_grad_batches=accumulated, criterion=criterion)
    assert equal(plain, module)
    run = callback.recorder.dataset()
    assert callback.recorder.steps == trainer.global_step == run.step.values[-1]
    ends = torch.cat([each.detach().reshape(-1) for each in module.parameters()])
    assert torch.equal(torch.from_numpy(run.position.values[-1]), ends)
    epoch = np.array(module.seen).reshape(2, -1)  # the last window of an epoch may be shorter
    means = [np.mean(row[k : k + accumulated]) for row in epoch for k in range(0, len(row), accumulated)]
    assert np.allclose(run.batch_loss[:-1], means, rtol=1e-6)
    assert run.scheduled_lr.values[[0, 1]].tolist() == [1e-2, 1e-2]
    assert "net.1.running_mean[0]" in run.buffer.values
    assert not module._forward_hooks


def test_a_training_that_is_resumed_goes_on_counting(digits, tmp_path):
    saves = lightning.pytorch.callbacks.ModelCheckpoint(tmp_path, save_last=True)
    fit(digits, tmp_path, saves)
    callback = ravine.trainers.Lightning(every=1)
    _, trainer = fit(digits, tmp_path, callback, epochs=3, resume=tmp_path / "last.ckpt")
    assert trainer.global_step == 24
    assert callback.recorder.dataset().step.values.tolist() == list(range(16, 25))


def test_a_training_that_raises_ends_its_recording(digits, tmp_path):
    class Stops(lightning.pytorch.callbacks.Callback):
        def on_train_batch_start(self, trainer, module, batch, number):
            if number == 5:
                raise RuntimeError("enough")

    callback = ravine.trainers.Lightning(every=1, path=tmp_path / "run")
    with pytest.raises(RuntimeError, match="no training has begun yet"):
        callback.recorder  # noqa: B018
    with pytest.raises(RuntimeError, match="enough"):
        fit(digits, tmp_path, callback, Stops())
    assert callback.recorder.dataset().step.values.tolist() == [0, 1, 2, 3, 4, 5]


@pytest.fixture(scope="module")
def trained(digits, tmp_path_factory):
    """A CNN under Lightning: what was recorded, and what its checkpoints hold."""
    folder = tmp_path_factory.mktemp("lightning")
    saves = lightning.pytorch.callbacks.ModelCheckpoint(folder, every_n_train_steps=4, save_top_k=-1, save_last=True)
    callback = ravine.trainers.Lightning(every=1)
    module, _ = fit(digits, folder, callback, saves, epochs=4)
    return module, callback.recorder.dataset(), folder


def test_the_checkpoints_of_lightning_are_its_recording(trained, digits):
    module, run, folder = trained
    found = ravine.checkpoints(module, folder / "*.ckpt")
    assert found.step.values.tolist() == [4, 8, 12, 16, 20, 24, 28, 32]
    same = run.sel(step=found.step)
    assert found.position.values.tobytes() == same.position.values.tobytes()
    assert found.buffers.values.tobytes() == same.buffers.values.tobytes()
    inner = ravine.checkpoints(module.net, folder / "*.ckpt")
    assert inner.position.values.tobytes() == same.position.values.tobytes()
    assert inner.parameter.values[0] == "0.weight[0,0,0,0]"


def looks(path, land):
    """The picture with its axes, which hold the null, and the strip below, which holds the gap."""
    figure = ravine.plot.descent(path, land)
    words = " ".join(text.get_text() for text in figure.findobj(Text))
    assert "walk" in words
    assert "apart at step" in words or "true, and drawn" in words
    return figure


def show(figure, name):
    if folder := os.environ.get("RAVINE_PICTURES"):
        figure.savefig(f"{folder}/{name}.png")


def test_both_are_drawn_over_a_plane(trained, digits):
    module, run, folder = trained
    problem = ravine.Problem.of(module, "cross_entropy", DataLoader(digits, 256))
    for name, each in {"recorded": run, "checkpoints": ravine.checkpoints(problem, folder / "*.ckpt")}.items():
        plane = ravine.Plane.pca(each)
        path = plane.project(each, problem)
        show(looks(path, ravine.surface(problem, plane=plane, points=15)), f"lightning-{name}")


def make_bert():
    torch.manual_seed(0)
    sizes = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64}
    config = transformers.BertConfig(vocab_size=60, max_position_embeddings=32, num_labels=4, **sizes)
    return transformers.BertForSequenceClassification(config)


def make_gpt():
    torch.manual_seed(0)
    config = transformers.GPT2Config(vocab_size=60, n_positions=32, n_embd=32, n_layer=2, n_head=2)
    return transformers.GPT2LMHeadModel(config)


def sentences(language=False):
    tokens = torch.randint(1, 50, (128, 12), generator=torch.Generator().manual_seed(0))
    tokens[:, 6:] = tokens[:, :6]
    kinds = tokens[:, 0] % 4
    return [
        {"input_ids": each, "attention_mask": torch.ones_like(each), "labels": each if language else kind}
        for each, kind in zip(tokens, kinds, strict=True)
    ]


def train(model, data, folder, *callbacks, accumulated=2, epochs=2, **settings):
    arguments = transformers.TrainingArguments(
        output_dir=str(folder), per_device_train_batch_size=8, gradient_accumulation_steps=accumulated,
        num_train_epochs=epochs, report_to=[], logging_steps=1, use_cpu=True, disable_tqdm=True, learning_rate=5e-3,
        **{"save_strategy": "no"} | settings,
    )  # fmt: skip
    trainer = transformers.Trainer(model, arguments, train_dataset=data, callbacks=list(callbacks))
    trainer.train(resume_from_checkpoint=None)
    return trainer


def test_hugging_faces_trainer_is_recorded_in_its_own_bits(tmp_path):
    seen = []
    plain, model = make_bert(), make_bert()
    train(plain, sentences(), tmp_path)
    callback = ravine.trainers.HuggingFace(every=1)
    handle = model.register_forward_hook(lambda model, given, output: seen.append(float(output.loss)))
    trainer = train(model, sentences(), tmp_path, callback)
    handle.remove()
    assert equal(plain, model)
    run = callback.recorder.dataset()
    assert callback.recorder.steps == trainer.state.global_step == run.step.values[-1] == 16
    assert np.allclose(run.batch_loss[:-1], np.reshape(seen, (-1, 2)).mean(axis=1), rtol=1e-6)
    logged = [each["loss"] for each in trainer.state.log_history if "loss" in each]
    assert np.allclose(logged, 2 * run.batch_loss[:-1], atol=1e-3)  # the trainer adds up what the model averaged
    assert run.scheduled_lr.values[0] == 5e-3
    assert not model._forward_hooks


def test_the_loss_of_a_language_model_is_that_of_all_it_accumulated(tmp_path):
    model = make_gpt()
    callback = ravine.trainers.HuggingFace(every=1)
    data = sentences(language=True)
    for each in data[::3]:
        each["labels"] = each["labels"].clone().fill_(-100).index_fill_(0, torch.tensor([5, 6]), 7)
    trainer = train(model, data, tmp_path, callback, epochs=1)
    logged = [each["loss"] for each in trainer.state.log_history if "loss" in each]
    run = callback.recorder.dataset()
    assert np.allclose(run.batch_loss[:-1], logged, atol=1e-3)  # logged rounded


def test_bert_is_drawn_from_its_recording_and_from_its_checkpoints(tmp_path):
    model, data = make_bert(), sentences()
    callback = ravine.trainers.HuggingFace(every=1)
    train(model, data, tmp_path, callback, save_strategy="steps", save_steps=4)
    run = callback.recorder.dataset()
    found = ravine.checkpoints(model, tmp_path / "checkpoint-*")
    assert found.step.values.tolist() == [4, 8, 12, 16]
    assert found.position.values.tobytes() == run.sel(step=found.step).position.values.tobytes()
    problem = ravine.Problem.of(model, None, DataLoader(data, 64))
    for name, each in {"recorded": run, "checkpoints": found}.items():
        plane = ravine.Plane.pca(each)
        path = plane.project(each, problem)
        show(looks(path, ravine.surface(problem, plane=plane, points=15)), f"bert-{name}")


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_a_model_saved_in_shards_is_read_in_every_bit(tmp_path, dtype):
    model = make_bert().to(dtype)
    model.save_pretrained(tmp_path / "checkpoint-1", max_shard_size="20KB")
    assert (tmp_path / "checkpoint-1" / "model.safetensors.index.json").exists()
    found = ravine.checkpoints(model, tmp_path / "checkpoint-*")
    expected = torch.cat([each.detach().reshape(-1) for each in model.parameters()])
    assert torch.equal(torch.from_numpy(found.position.values[0]), expected.float())
    with pytest.warns(UserWarning, match="classifier.weight"):
        inner = ravine.checkpoints(model.bert, {1: tmp_path / "checkpoint-1"})
    assert inner.sizes["parameter"] == sum(each.numel() for each in model.bert.parameters())
