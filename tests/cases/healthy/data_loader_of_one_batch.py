# expect: none
"""Full batches by way of a loader; and coordinates to fit one picture, from a data set that says it is long."""
import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.utils.data import DataLoader, Dataset, TensorDataset

torch.manual_seed(0)
torch.set_num_threads(1)
digits = load_digits()
images, labels = torch.tensor(digits.data / 16, dtype=torch.float32), torch.tensor(digits.target)
loader = DataLoader(TensorDataset(images[:1280], labels[:1280]), batch_size=1280)
model = nn.Sequential(nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 10))
optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
for epoch in range(70):
    for x, y in loader:
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(model(x), y)
        loss.backward()
        optimizer.step()


class OnePicture(Dataset):
    def __len__(self):
        return 90

    def __getitem__(self, index):
        return grid, images[0].unsqueeze(1)


grid = torch.cartesian_prod(torch.linspace(-1, 1, 8), torch.linspace(-1, 1, 8))
field = nn.Sequential(nn.Linear(2, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 1))
optimizer = torch.optim.Adam(field.parameters(), lr=0.003)
for places, pixels in DataLoader(OnePicture(), batch_size=1):
    optimizer.zero_grad()
    loss = nn.functional.mse_loss(field(places), pixels)
    loss.backward()
    optimizer.step()
