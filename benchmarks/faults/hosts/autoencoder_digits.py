"""A denoising autoencoder on digits, in half precision where it is safe; Adam, mean squared error."""
import numpy as np
import torch
import torch.nn as nn
import torch.optim as optim
from sklearn.datasets import load_digits

np.random.seed(2)
torch.manual_seed(2)
torch.set_num_threads(1)
batch_size, n_epochs, learning_rate, noise = 50, 50, 0.002, 0.2

X = load_digits().data.astype("float32") / 16.0
np.random.shuffle(X)
X_train, X_valid = X[:1400], X[1400:]


class Autoencoder(nn.Module):
    def __init__(self, n_inputs=64, n_code=10):
        super().__init__()
        self.enc1 = nn.Linear(n_inputs, 80)
        self.enc2 = nn.Linear(80, 40)
        self.code = nn.Linear(40, n_code)
        self.dec1 = nn.Linear(n_code, 40)
        self.dec2 = nn.Linear(40, 80)
        self.out = nn.Linear(80, n_inputs)
        self.activation = nn.ReLU()

    def encode(self, x):
        x = self.activation(self.enc1(x))
        x = self.activation(self.enc2(x))
        return self.code(x)

    def decode(self, z):
        z = self.activation(self.dec1(z))
        z = self.activation(self.dec2(z))
        return torch.sigmoid(self.out(z))

    def forward(self, x):
        z = self.encode(x)
        return self.decode(z)


def batches(X):
    indices = np.random.permutation(len(X))
    for k in range(len(X) // batch_size):
        yield torch.from_numpy(X[indices[k * batch_size : (k + 1) * batch_size]])


def reconstruction_error(net):
    with torch.no_grad():
        clean = torch.from_numpy(X_valid)
        return nn.functional.mse_loss(net(clean).float(), clean).item()


net = Autoencoder()
criterion = nn.MSELoss()
optimizer = optim.Adam(net.parameters(), lr=learning_rate)
print(f"start: {reconstruction_error(net):.6f}")
history = []
for epoch in range(n_epochs):
    epoch_losses = []
    for batch in batches(X_train):
        corrupted = batch + noise * torch.randn_like(batch)
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=False):
            decoded = net(corrupted)
        loss = criterion(decoded.float(), batch)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        epoch_losses.append(loss.item())
    history.append(sum(epoch_losses) / len(epoch_losses))
    if epoch % 10 == 9:
        print(f"[{epoch + 1}] loss: {history[-1]:.5f}, held out: {reconstruction_error(net):.5f}")
print(f"result: {reconstruction_error(net):.6f}")
