# expect: none
"""A DataLoader with two worker processes (fork), an own Dataset and a collate function."""
import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.utils.data import DataLoader, Dataset


class Digits(Dataset):
    def __init__(self):
        digits = load_digits()
        self.images, self.targets = digits.images, digits.target

    def __len__(self):
        return len(self.images)

    def __getitem__(self, index):
        image = torch.tensor(self.images[index], dtype=torch.float32).unsqueeze(0) / 16
        return image + 0.05 * torch.randn(1, 8, 8), int(self.targets[index])


def collate(samples):
    images, targets = zip(*samples)
    return torch.stack(images), torch.tensor(targets)


def main():
    torch.manual_seed(0)
    torch.set_num_threads(1)
    loader = DataLoader(
        Digits(), batch_size=64, shuffle=True, num_workers=2, collate_fn=collate, multiprocessing_context="fork"
    )
    model = nn.Sequential(nn.Conv2d(1, 8, 3), nn.ReLU(), nn.Flatten(), nn.Linear(8 * 36, 10))
    optimizer = torch.optim.Adam(model.parameters(), lr=5e-3)
    for epoch in range(2):
        for images, targets in loader:
            optimizer.zero_grad()
            loss = nn.functional.cross_entropy(model(images), targets)
            loss.backward()
            optimizer.step()
    print(f"final loss {loss.item():.4f}")


if __name__ == "__main__":
    main()
