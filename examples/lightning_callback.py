"""A Lightning Trainer with gradscope's callback, on scikit-learn's handwritten digits: some seconds on a CPU.

    python examples/lightning_callback.py             # healthy: the report has nothing to say
    python examples/lightning_callback.py --lr 3      # a learning rate that is too high, and one that works
    gradscope run examples/lightning_callback.py      # works without the callback, too

Needs Lightning: pip install lightning, or pip install -e ".[lightning]" in the repository.
"""
from __future__ import annotations

import argparse
from typing import Any

import lightning as L
import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from gradscope.integrations.lightning import GradscopeCallback

BATCH = 64


class Digits(L.LightningModule):
    """A small network for pictures of 8 x 8 pixels."""

    def __init__(self, lr: float) -> None:
        super().__init__()
        self.lr = lr
        self.net = nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10))

    def training_step(self, batch: Any, index: int) -> torch.Tensor:
        images, labels = batch
        loss = nn.functional.cross_entropy(self.net(images), labels)
        self.log("train_loss", loss)
        return loss

    def validation_step(self, batch: Any, index: int) -> None:
        images, labels = batch
        self.log("val_loss", nn.functional.cross_entropy(self.net(images), labels))

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.Adam(self.parameters(), lr=self.lr)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--lr", type=float, default=2e-3)
    parser.add_argument("--epochs", type=int, default=8)
    parser.add_argument("--log-dir", help="keep a run folder here, for `gradscope report` and TensorBoard")
    given = parser.parse_args()
    L.seed_everything(0, verbose=False)
    digits = load_digits()
    images, labels = torch.tensor(digits.data, dtype=torch.float32) / 16, torch.tensor(digits.target)
    order = torch.randperm(len(images))
    train, valid = (TensorDataset(images[part], labels[part]) for part in (order[:1400], order[1400:]))
    trainer = L.Trainer(
        max_epochs=given.epochs,
        accelerator="cpu",
        callbacks=[GradscopeCallback(log_dir=given.log_dir)],
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(Digits(given.lr), DataLoader(train, BATCH, shuffle=True), DataLoader(valid, 256))
    print(f"validation loss {float(trainer.callback_metrics['val_loss']):.3f}")


if __name__ == "__main__":
    main()
