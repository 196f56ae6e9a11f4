"""A small GPT on made text, in the manner of nanoGPT: get_batch, estimate_loss, AdamW, warm-up, clipping."""
import math
from dataclasses import dataclass

import torch
import torch.nn as nn
from torch.nn import functional as F

batch_size = 24
max_iters = 300
eval_interval = 100
eval_iters = 5
learning_rate = 2e-3
min_lr = 2e-4
warmup_iters = 30
weight_decay = 0.1
grad_clip = 1.0
grad_accum = 1
torch.manual_seed(1337)
torch.set_num_threads(1)

NAMES = "Anna Boris Clara David Elena Frank Greta Henry".split()
THINGS = "apple letter candle ribbon hammer basket".split()
generator = torch.Generator().manual_seed(5)


def pick(words):
    return words[int(torch.randint(len(words), (1,), generator=generator))]


def line():
    giver, taker, thing = pick(NAMES), pick(NAMES), pick(THINGS)
    return f"{giver} gives {taker} the {thing}. {taker} thanks {giver} for the {thing}.\n"


text = "".join(line() for _ in range(1500))
chars = sorted(set(text))
stoi = {c: i for i, c in enumerate(chars)}
data = torch.tensor([stoi[c] for c in text])
n = int(0.9 * len(data))
train_data, val_data = data[:n], data[n:]


@dataclass
class GPTConfig:
    block_size: int = 48
    vocab_size: int = len(chars)
    n_layer: int = 2
    n_head: int = 4
    n_embd: int = 48
    dropout: float = 0.0


class Block(nn.Module):
    def __init__(self, config):
        super().__init__()
        self.n_head = config.n_head
        self.ln_1 = nn.LayerNorm(config.n_embd)
        self.c_attn = nn.Linear(config.n_embd, 3 * config.n_embd)
        self.c_proj = nn.Linear(config.n_embd, config.n_embd)
        self.ln_2 = nn.LayerNorm(config.n_embd)
        self.mlp_fc = nn.Linear(config.n_embd, 4 * config.n_embd)
        self.mlp_proj = nn.Linear(4 * config.n_embd, config.n_embd)

    def forward(self, x):
        B, T, C = x.size()
        q, k, v = self.c_attn(self.ln_1(x)).split(C, dim=2)
        q, k, v = (t.view(B, T, self.n_head, C // self.n_head).transpose(1, 2) for t in (q, k, v))
        y = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        x = x + self.c_proj(y.transpose(1, 2).contiguous().view(B, T, C))
        return x + self.mlp_proj(F.gelu(self.mlp_fc(self.ln_2(x))))


class GPT(nn.Module):
    def __init__(self, config):
        super().__init__()
        self.wte = nn.Embedding(config.vocab_size, config.n_embd)
        self.wpe = nn.Embedding(config.block_size, config.n_embd)
        self.drop = nn.Dropout(config.dropout)
        self.h = nn.ModuleList([Block(config) for _ in range(config.n_layer)])
        self.ln_f = nn.LayerNorm(config.n_embd)
        self.lm_head = nn.Linear(config.n_embd, config.vocab_size, bias=False)
        self.apply(self._init_weights)

    def _init_weights(self, module):
        if isinstance(module, (nn.Linear, nn.Embedding)):
            nn.init.normal_(module.weight, mean=0.0, std=0.02)

    def forward(self, idx, targets):
        x = self.drop(self.wte(idx) + self.wpe(torch.arange(idx.size(1))))
        for block in self.h:
            x = block(x)
        logits = self.lm_head(self.ln_f(x))
        return logits, F.cross_entropy(logits.view(-1, logits.size(-1)), targets.view(-1))


def get_batch(split):
    source = train_data if split == "train" else val_data
    ix = torch.randint(len(source) - 48, (batch_size,))
    x = torch.stack([source[i : i + 48] for i in ix])
    y = torch.stack([source[i + 1 : i + 49] for i in ix])
    return x, y


@torch.no_grad()
def estimate_loss():
    model.eval()
    state = torch.get_rng_state()
    torch.manual_seed(0)
    losses = [model(*get_batch("val"))[1].item() for _ in range(eval_iters)]
    torch.set_rng_state(state)
    model.train()
    return sum(losses) / eval_iters


def get_lr(it):
    if it < warmup_iters:
        return learning_rate * (it + 1) / warmup_iters
    ratio = (it - warmup_iters) / (max_iters - warmup_iters)
    return min_lr + 0.5 * (1.0 + math.cos(math.pi * ratio)) * (learning_rate - min_lr)


model = GPT(GPTConfig())
optimizer = torch.optim.AdamW(model.parameters(), lr=learning_rate, betas=(0.9, 0.99), weight_decay=weight_decay)
print(f"start: {estimate_loss():.5f}")
running = 0.0
for it in range(max_iters):
    for group in optimizer.param_groups:
        group["lr"] = get_lr(it)
    optimizer.zero_grad(set_to_none=True)
    for micro_step in range(grad_accum):
        xb, yb = get_batch("train")
        logits, loss = model(xb, yb)
        (loss / grad_accum).backward()
    torch.nn.utils.clip_grad_norm_(model.parameters(), grad_clip)
    optimizer.step()
    running = 0.9 * running + 0.1 * loss.item()
    if it % eval_interval == 0:
        print(f"step {it}: train loss {running:.4f}, val loss {estimate_loss():.4f}")
print(f"result: {estimate_loss():.5f}")
