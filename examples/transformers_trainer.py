"""A Hugging Face Trainer with gradscope's callback: a tiny BERT, made from a config, on sentences that are made up.

    python examples/transformers_trainer.py                 # healthy: the report has nothing to say
    python examples/transformers_trainer.py --lr 3          # a learning rate that is too high, and one that works
    gradscope run examples/transformers_trainer.py          # works without the callback, too

Nothing is downloaded; some seconds on a CPU. Needs transformers and accelerate: pip install -e ".[transformers]" in the
repository.
"""
from __future__ import annotations

import argparse
import tempfile

import torch
from torch.utils.data import Dataset
from transformers import BertConfig, BertForSequenceClassification, Trainer, TrainingArguments, set_seed

from gradscope.integrations.transformers import GradscopeCallback

WORDS, LENGTH = 40, 10


class Sentences(Dataset):
    """Sentences of numbers; of the two classes, one uses the lower half of the vocabulary more often."""

    def __init__(self, count: int, seed: int) -> None:
        made = torch.Generator().manual_seed(seed)
        self.labels = torch.randint(0, 2, (count,), generator=made)
        words = torch.randint(0, WORDS // 2, (count, LENGTH), generator=made)
        upper = torch.rand(count, LENGTH, generator=made) < 0.25 + 0.5 * self.labels[:, None]
        self.words = words + upper * (WORDS // 2)

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> dict[str, torch.Tensor]:
        return {"input_ids": self.words[index], "labels": self.labels[index]}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--lr", type=float, default=1e-3)
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--log-dir", help="keep a run folder here, for `gradscope report` and TensorBoard")
    given = parser.parse_args()
    set_seed(0)
    model = BertForSequenceClassification(
        BertConfig(
            vocab_size=WORDS, hidden_size=32, num_hidden_layers=2, num_attention_heads=2, intermediate_size=64,
            max_position_embeddings=LENGTH,
        )
    )  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        arguments = TrainingArguments(
            output_dir=folder,
            num_train_epochs=given.epochs,
            per_device_train_batch_size=32,
            gradient_accumulation_steps=2,
            learning_rate=given.lr,
            warmup_steps=5,
            eval_strategy="epoch",
            save_strategy="no",
            report_to=[],
            disable_tqdm=True,
            use_cpu=True,
        )
        trainer = Trainer(
            model,
            arguments,
            train_dataset=Sentences(1280, seed=1),
            eval_dataset=Sentences(256, seed=2),
            callbacks=[GradscopeCallback(log_dir=given.log_dir)],
        )
        trainer.train()


if __name__ == "__main__":
    main()
