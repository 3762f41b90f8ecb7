"""The blocks of docs/training.md that need packages of others, in their order: trainers, TensorBoard, Weights & Biases.

What they need besides is made here; nothing is fetched and nothing sent.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest
import torch
from torch.utils.data import DataLoader

PAGE = (Path(__file__).parent.parent / "docs" / "training.md").read_text()
BLOCKS = re.findall(r"```(python|py)\n(.*?)```", PAGE, flags=re.S)

pytestmark = pytest.mark.filterwarnings("ignore")  # theirs


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    """The folder in which the page's own blocks ran, and what they left behind."""
    folder = tmp_path_factory.mktemp("page")
    before = Path.cwd()
    os.chdir(folder)
    os.environ |= {"HF_HUB_OFFLINE": "1", "WANDB_MODE": "offline", "WANDB_SILENT": "true"}
    space: dict[str, object] = {}
    with torch.random.fork_rng():
        torch.manual_seed(0)
        for kind, block in BLOCKS:
            if kind == "python":
                exec(compile(block, "<training.md>", "exec"), space)
        yield folder, space
    os.chdir(before)


def run(space, word):
    (block,) = (block for kind, block in BLOCKS if kind == "py" and word in block)
    exec(compile(block, f"<{word}>", "exec"), space)
    return space


def test_lightning(page):
    lightning = pytest.importorskip("lightning")
    space = dict(page[1])

    class Module(lightning.LightningModule):
        def __init__(self):
            super().__init__()
            self.net = space["make_model"]()

        def forward(self, x):
            return self.net(x)

        def training_step(self, batch, number):
            return space["criterion"](self(batch[0]), batch[1])

        def configure_optimizers(self):
            return torch.optim.Adam(self.parameters())

    space |= {"lightning": lightning, "module": Module(), "loader": DataLoader(space["data"], 100)}
    found = run(space, "lightning.Trainer")
    assert found["run"].step.values[-1] == 20
    assert found["path"].sizes["step"] == found["run"].sizes["step"]


def test_hugging_face(page):
    transformers = pytest.importorskip("transformers")
    pytest.importorskip("accelerate")
    sizes = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 64}
    model = transformers.BertForSequenceClassification(transformers.BertConfig(vocab_size=60, num_labels=4, **sizes))
    tokens = torch.randint(1, 50, (64, 12), generator=torch.Generator().manual_seed(0))
    data = [{"input_ids": each, "labels": each[0] % 4} for each in tokens]
    arguments = transformers.TrainingArguments(
        output_dir="out", num_train_epochs=1, report_to=[], save_strategy="no", use_cpu=True, disable_tqdm=True
    )
    space = page[1] | {"transformers": transformers, "model": model, "data": data, "arguments": arguments}
    found = run(space, "transformers.Trainer")
    assert found["run"].step.values[-1] == 8
    assert found["path"].sizes["step"] == found["run"].sizes["step"]


def test_tensorboard(page):
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    folder, space = page
    run(dict(space), "SummaryWriter")
    held = EventAccumulator(str(folder / "board"))
    held.Reload()
    assert held.Images("landscape")[0].width > 500
    true = EventAccumulator(str(folder / "board" / "loss_true"))
    true.Reload()
    path = space["path"]
    assert [each.step for each in true.Scalars("loss")] == path.step.values.tolist()
    assert [each.value for each in true.Scalars("loss")] == pytest.approx(path.loss.values.tolist())


def test_weights_and_biases(page):
    pytest.importorskip("wandb")
    folder, space = page
    run(dict(space), "wandb")
    (board,) = (folder / "wandb").glob("offline-run-*")
    media = sorted(each.suffix for each in (board / "files" / "media").rglob("*") if each.is_file())
    assert media == [".gif", ".png"]
    assert next(board.glob("*.wandb")).stat().st_size > 1000
