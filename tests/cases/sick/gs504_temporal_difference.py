# expect: GS504
# by-row: 5
# advised: squeeze(1)
# worse: test loss
# line: here
# healed-by: healthy/gs504_temporal_difference_healed.py
"""Q-learning: gather gives (64, 1), the returns are (64,)."""
import torch
from torch import nn

torch.manual_seed(0)
torch.set_num_threads(1)
hidden_rule = torch.randn(6, 4)


def play(count):
    states, actions = torch.randn(count, 6), torch.randint(4, (count,))
    return states, actions, torch.tanh(states @ hidden_rule).gather(1, actions[:, None])[:, 0]


q = nn.Sequential(nn.Linear(6, 32), nn.ReLU(), nn.Linear(32, 4))
optimizer = torch.optim.Adam(q.parameters(), lr=3e-3)
for step in range(200):
    states, actions, returns = play(64)
    values = q(states).gather(1, actions.unsqueeze(1))
    loss = nn.functional.huber_loss(values, returns)
    optimizer.zero_grad()
    loss.backward()  # <- here
    optimizer.step()
with torch.no_grad():
    states, actions, returns = play(1000)
    loss = (q(states).gather(1, actions[:, None])[:, 0] - returns).square().mean()
print(f"test loss: {loss:.4f}")
