# expect: none
"""A model in the style of the big libraries: it takes the labels, returns a dict with the loss in it, and hides
the training in a small trainer class.
"""
import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.utils.data import DataLoader, TensorDataset


class Classifier(nn.Module):
    def __init__(self, config):
        super().__init__()
        self.encoder = nn.Sequential(nn.Linear(config["inputs"], config["hidden"]), nn.GELU())
        self.norm = nn.LayerNorm(config["hidden"])
        self.head = nn.Linear(config["hidden"], config["classes"])

    def forward(self, pixels, labels=None):
        hidden = self.norm(self.encoder(pixels))
        logits = self.head(hidden)
        output = {"logits": logits, "hidden_states": hidden}
        if labels is not None:
            output["loss"] = nn.functional.cross_entropy(logits, labels)
        return output


class Trainer:
    def __init__(self, model, dataset, epochs=2, lr=5e-3):
        self.model, self.epochs = model, epochs
        self.loader = DataLoader(dataset, batch_size=48, shuffle=True)
        self.optimizer = torch.optim.AdamW(model.parameters(), lr=lr)

    def train(self):
        self.model.train()
        for _ in range(self.epochs):
            for pixels, labels in self.loader:
                outputs = self.model(pixels=pixels, labels=labels)
                outputs["loss"].backward()
                self.optimizer.step()
                self.optimizer.zero_grad()
        return outputs["loss"].item()


if __name__ == "__main__":
    torch.manual_seed(0)
    torch.set_num_threads(1)
    x, y = load_digits(return_X_y=True)
    dataset = TensorDataset(torch.tensor(x, dtype=torch.float32) / 16, torch.tensor(y))
    model = Classifier({"inputs": 64, "hidden": 48, "classes": 10})
    print(f"final loss {Trainer(model, dataset).train():.4f}")
