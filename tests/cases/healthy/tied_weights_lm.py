# expect: none
"""A tiny language model whose output layer shares its weight with the embedding (weight tying): one parameter,
two names, two uses.
"""
import torch
import torch.nn as nn

TEXT = "the quick brown fox jumps over the lazy dog. pack my box with five dozen liquor jugs. " * 6


class TinyLM(nn.Module):
    def __init__(self, vocabulary, size=32):
        super().__init__()
        self.embed = nn.Embedding(vocabulary, size)
        self.rnn = nn.GRU(size, size, batch_first=True)
        self.decoder = nn.Linear(size, vocabulary, bias=False)
        self.decoder.weight = self.embed.weight

    def forward(self, tokens):
        output, _ = self.rnn(self.embed(tokens))
        return self.decoder(output)


def main():
    torch.manual_seed(0)
    torch.set_num_threads(1)
    alphabet = sorted(set(TEXT))
    tokens = torch.tensor([alphabet.index(c) for c in TEXT])
    model = TinyLM(len(alphabet))
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    for step in range(80):
        starts = torch.randint(0, len(tokens) - 17, (16,))
        window = torch.stack([tokens[s:s + 17] for s in starts.tolist()])
        logits = model(window[:, :-1])
        loss = nn.functional.cross_entropy(logits.flatten(0, 1), window[:, 1:].flatten())
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
    print(f"final loss {loss.item():.4f}")


if __name__ == "__main__":
    main()
