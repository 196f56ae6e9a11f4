# expect: none
"""Two models in a row; the optimizer has been given the parameters of both."""
import torch
from sklearn.datasets import load_digits
from torch import nn

torch.manual_seed(0)
torch.set_num_threads(1)
digits = load_digits()
images, labels = torch.tensor(digits.data / 16, dtype=torch.float32), torch.tensor(digits.target)
encoder, classifier = nn.Sequential(nn.Linear(64, 4), nn.Tanh()), nn.Linear(4, 10)
optimizer = torch.optim.SGD([*encoder.parameters(), *classifier.parameters()], lr=0.5)
for step in range(300):
    batch = torch.randint(0, 1280, (64,))
    optimizer.zero_grad()
    loss = nn.functional.cross_entropy(classifier(encoder(images[batch])), labels[batch])
    loss.backward()
    optimizer.step()
with torch.no_grad():
    print(f"test loss: {nn.functional.cross_entropy(classifier(encoder(images[1280:])), labels[1280:]):.4f}")
