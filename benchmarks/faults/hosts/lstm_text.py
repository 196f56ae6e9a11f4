"""A character model of a made language: LSTM with truncated backpropagation through time, SGD and clipping."""
import math
import random

import torch
import torch.nn as nn

torch.manual_seed(1111)
torch.set_num_threads(1)
random.seed(1111)
BATCH, BPTT, EPOCHS, CLIP = 16, 24, 6, 0.25
lr = 20.0

# sentences such as "the small cat sees a bird. "
NOUNS = "cat dog bird child farmer queen river stone teacher garden".split()
VERBS = "sees likes finds follows carries calls paints forgets".split()
ADJECTIVES = "small old green quiet heavy bright".split()


def sentence():
    def phrase():
        adjective = random.choice(ADJECTIVES) + " " if random.random() < 0.5 else ""
        return f"{random.choice(['the', 'a'])} {adjective}{random.choice(NOUNS)}"

    return f"{phrase()} {random.choice(VERBS)} {phrase()}. "


text = "".join(sentence() for _ in range(1800))
vocab = sorted(set(text))
ids = torch.tensor([vocab.index(c) for c in text])


def batchify(data, columns):
    rows = len(data) // columns
    return data[: rows * columns].view(columns, rows).t().contiguous()


split = int(0.9 * len(ids))
train_data, val_data = batchify(ids[:split], BATCH), batchify(ids[split:], BATCH)


class RNNModel(nn.Module):
    def __init__(self, ntoken, ninp=24, nhid=48):
        super().__init__()
        self.encoder = nn.Embedding(ntoken, ninp)
        self.rnn = nn.LSTM(ninp, nhid)
        self.decoder = nn.Linear(nhid, ntoken)
        self.nhid = nhid

    def forward(self, tokens, hidden):
        output, hidden = self.rnn(self.encoder(tokens), hidden)
        return self.decoder(output), hidden

    def init_hidden(self, batch):
        return torch.zeros(1, batch, self.nhid), torch.zeros(1, batch, self.nhid)


def repackage(hidden):
    return tuple(h.detach() for h in hidden)


def evaluate(source):
    model.eval()
    hidden, total = model.init_hidden(BATCH), 0.0
    with torch.no_grad():
        for i in range(0, len(source) - 1, BPTT):
            n = min(BPTT, len(source) - 1 - i)
            output, hidden = model(source[i : i + n], hidden)
            total += n * nn.functional.cross_entropy(output.flatten(0, 1), source[i + 1 : i + 1 + n].flatten()).item()
    return total / (len(source) - 1)


model = RNNModel(len(vocab))
criterion = nn.CrossEntropyLoss()
optimizer = torch.optim.SGD(model.parameters(), lr=lr)
print(f"start: {evaluate(val_data):.5f}")
for epoch in range(EPOCHS):
    model.train()
    hidden, total_loss, batches = model.init_hidden(BATCH), 0.0, 0
    for i in range(0, len(train_data) - 1 - BPTT, BPTT):
        data, targets = train_data[i : i + BPTT], train_data[i + 1 : i + 1 + BPTT]
        hidden = repackage(hidden)
        optimizer.zero_grad()
        output, hidden = model(data, hidden)
        loss = criterion(output.flatten(0, 1), targets.flatten())
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), CLIP)
        optimizer.step()
        total_loss += loss.item()
        batches += 1
    print(f"epoch {epoch}: loss {total_loss / batches:.3f}, perplexity {math.exp(evaluate(val_data)):.2f}")
print(f"result: {evaluate(val_data):.5f}")
