# expect: none
"""Q-learning: the values that were gathered have the returns' shape."""
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
    values = q(states).gather(1, actions.unsqueeze(1)).squeeze(1)
    loss = nn.functional.huber_loss(values, returns)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
with torch.no_grad():
    states, actions, returns = play(1000)
    loss = (q(states).gather(1, actions[:, None])[:, 0] - returns).square().mean()
print(f"test loss: {loss:.4f}")
