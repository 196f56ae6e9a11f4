# expect: none
"""REINFORCE on a bandit: returns with a heavy tail, a clip that cuts most steps."""
import torch
from torch import nn

torch.manual_seed(0)
torch.set_num_threads(1)
model = nn.Sequential(nn.Linear(4, 32), nn.Tanh(), nn.Linear(32, 5))
optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
best = torch.randn(4, 5)
for step in range(300):
    state = torch.randn(int(torch.randint(4, 40, ())), 4)
    policy = torch.distributions.Categorical(logits=model(state))
    action = policy.sample()
    reward = (state @ best).gather(1, action[:, None])[:, 0] * torch.randn(()).exp() ** 2 * 10
    optimizer.zero_grad()
    loss = -(policy.log_prob(action) * (reward - reward.mean())).mean()
    loss.backward()
    nn.utils.clip_grad_norm_(model.parameters(), 0.5)
    optimizer.step()
print(f"last reward {reward.mean():.3f}")
