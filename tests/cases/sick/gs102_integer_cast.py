# expect: GS102
# by-row: 20
# reason: integer-cast
# line: here
# healed-by: healthy/gs102_integer_cast_healed.py
"""A home-made vector quantiser: the encoder's scores go through argmax() into an Embedding, and an integer has
no gradient, so the encoder never learns.
"""
import torch
import torch.nn as nn


class Quantised(nn.Module):
    def __init__(self, codes=16):
        super().__init__()
        self.encoder = nn.Sequential(nn.Linear(6, 32), nn.ReLU(), nn.Linear(32, codes))
        self.codebook = nn.Embedding(codes, 12)
        self.decoder = nn.Linear(12, 6)

    def forward(self, x):
        scores = self.encoder(x)
        code = self.codebook(scores.argmax(dim=1))
        return self.decoder(code)


def main():
    torch.manual_seed(0)
    torch.set_num_threads(1)
    centres = torch.randn(8, 6)
    model = Quantised()
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    for _ in range(120):
        x = centres[torch.randint(0, 8, (64,))] + 0.1 * torch.randn(64, 6)
        loss = nn.functional.mse_loss(model(x), x)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()  # <- here
    print(f"final loss {loss.item():.4f}")


if __name__ == "__main__":
    main()
