"""A transformer encoder that fills in masked tokens of made sequences; tied embeddings, AdamW, warm-up and cosine."""
import math

import torch
import torch.nn as nn
import torch.nn.functional as F

torch.manual_seed(0)
torch.set_num_threads(1)
VOCAB, LENGTH, MASK = 33, 16, 32
STEPS, WARMUP, BATCH = 600, 60, 32
MAX_LR = 3e-3


def make_sequences(n, generator):
    """Counting up or down modulo 32, by a step of 1 to 3, from anywhere; one token in twenty is wrong."""
    start = torch.randint(0, 32, (n, 1), generator=generator)
    step = torch.randint(1, 4, (n, 1), generator=generator) * (2 * torch.randint(0, 2, (n, 1), generator=generator) - 1)
    sequences = (start + step * torch.arange(LENGTH)) % 32
    noise = torch.rand(sequences.shape, generator=generator) < 0.05
    return torch.where(noise, torch.randint(0, 32, sequences.shape, generator=generator), sequences)


def mask_tokens(sequences, generator):
    hidden = torch.rand(sequences.shape, generator=generator) < 0.2
    return sequences.masked_fill(hidden, MASK), sequences.masked_fill(~hidden, -100)


class Block(nn.Module):
    def __init__(self, dim, heads):
        super().__init__()
        self.heads = heads
        self.norm1, self.norm2 = nn.LayerNorm(dim), nn.LayerNorm(dim)
        self.qkv, self.proj = nn.Linear(dim, 3 * dim), nn.Linear(dim, dim)
        self.mlp = nn.Sequential(nn.Linear(dim, 4 * dim), nn.GELU(), nn.Linear(4 * dim, dim))

    def forward(self, x):
        n, t, d = x.shape
        q, k, v = self.qkv(self.norm1(x)).view(n, t, 3, self.heads, d // self.heads).permute(2, 0, 3, 1, 4)
        x = x + self.proj(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(n, t, d))
        return x + self.mlp(self.norm2(x))


class MaskedLM(nn.Module):
    def __init__(self, dim=48, heads=4, depth=2):
        super().__init__()
        self.tokens = nn.Embedding(VOCAB, dim)
        self.positions = nn.Parameter(torch.zeros(LENGTH, dim))
        self.blocks = nn.ModuleList([Block(dim, heads) for _ in range(depth)])
        self.norm = nn.LayerNorm(dim)
        self.head = nn.Linear(dim, VOCAB, bias=False)
        nn.init.normal_(self.tokens.weight, std=0.1)
        nn.init.normal_(self.positions, std=0.1)
        self.head.weight = self.tokens.weight

    def forward(self, tokens):
        x = self.tokens(tokens) + self.positions
        for block in self.blocks:
            x = block(x)
        return self.head(self.norm(x))


def learning_rate(step):
    if step < WARMUP:
        return (step + 1) / WARMUP
    return 0.5 * (1 + math.cos(math.pi * (step - WARMUP) / (STEPS - WARMUP)))


def evaluate(model):
    model.eval()
    with torch.no_grad():
        return F.cross_entropy(model(test_inputs).flatten(0, 1).float(), test_targets.flatten()).item()


generator = torch.Generator().manual_seed(7)
test_inputs, test_targets = mask_tokens(make_sequences(400, generator), generator)
train_sequences = make_sequences(6000, generator)
model = MaskedLM()
optimizer = torch.optim.AdamW(model.parameters(), lr=MAX_LR, weight_decay=0.01)
scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, learning_rate)
print(f"start: {evaluate(model):.5f}")
for step in range(STEPS):
    model.train()
    chosen = torch.randint(0, len(train_sequences), (BATCH,), generator=generator)
    inputs, targets = mask_tokens(train_sequences[chosen], generator)
    logits = model(inputs)
    loss = F.cross_entropy(logits.flatten(0, 1), targets.flatten())
    loss.backward()
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)
    scheduler.step()
    if step % 100 == 99:
        print(f"step {step + 1}: loss {loss.item():.4f}, held out {evaluate(model):.4f}")
print(f"result: {evaluate(model):.5f}")
