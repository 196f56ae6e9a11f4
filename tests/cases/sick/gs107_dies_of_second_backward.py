# expect: GS107
# by-row: 1
# exit: 1
# line: here
# healed-by: healthy/gs107_dies_of_second_backward_healed.py
"""The same loss is sent backward twice, once for each of two optimizers, and the graph is gone after the first
time.
"""
import torch
import torch.nn as nn
import torch.nn.functional as F


class Encoder(nn.Module):
    def __init__(self):
        super().__init__()
        self.net = nn.Sequential(nn.Linear(9, 24), nn.Tanh())

    def forward(self, x):
        return self.net(x)


def main():
    torch.manual_seed(0)
    torch.set_num_threads(1)
    encoder, head = Encoder(), nn.Linear(24, 1)
    opt_encoder = torch.optim.Adam(encoder.parameters(), lr=5e-3)
    opt_head = torch.optim.SGD(head.parameters(), lr=5e-2)
    x = torch.randn(400, 9)
    y = x[:, :3].sum(dim=1, keepdim=True).sin()
    for _ in range(100):
        loss = F.mse_loss(head(encoder(x)), y)
        opt_encoder.zero_grad()
        loss.backward()
        opt_encoder.step()
        opt_head.zero_grad()
        loss.backward()  # <- here
        opt_head.step()
    print(f"final loss {loss.item():.4f}")


main()
