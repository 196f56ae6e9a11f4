# expect: none
"""A sequence-to-sequence tutorial loop with one optimizer per half, both stepped."""
import torch
from torch import nn, optim

torch.manual_seed(0)
torch.set_num_threads(1)

VOCABULARY, LENGTH, HIDDEN = 8, 3, 32


class Encoder(nn.Module):
    def __init__(self):
        super().__init__()
        self.embedding = nn.Embedding(VOCABULARY, HIDDEN)
        self.gru = nn.GRU(HIDDEN, HIDDEN, batch_first=True)

    def forward(self, tokens):
        return self.gru(self.embedding(tokens))[1]


class Decoder(nn.Module):
    def __init__(self):
        super().__init__()
        self.embedding = nn.Embedding(VOCABULARY + 1, HIDDEN)
        self.gru = nn.GRU(HIDDEN, HIDDEN, batch_first=True)
        self.out = nn.Linear(HIDDEN, VOCABULARY)

    def forward(self, tokens, hidden):
        output, _ = self.gru(self.embedding(tokens), hidden)
        return self.out(output)


encoder, decoder = Encoder(), Decoder()
encoder_optimizer = optim.Adam(encoder.parameters(), lr=0.01)
decoder_optimizer = optim.Adam(decoder.parameters(), lr=0.01)
criterion = nn.CrossEntropyLoss()

for iteration in range(120):
    source = torch.randint(0, VOCABULARY, (32, LENGTH))
    target = source.flip(1)
    shifted = torch.cat([torch.full((32, 1), VOCABULARY), target[:, :-1]], dim=1)
    encoder_optimizer.zero_grad()
    decoder_optimizer.zero_grad()
    logits = decoder(shifted, encoder(source))
    loss = criterion(logits.reshape(-1, VOCABULARY), target.reshape(-1))
    loss.backward()
    encoder_optimizer.step()
    decoder_optimizer.step()

print(f"final loss {loss.item():.4f}")
