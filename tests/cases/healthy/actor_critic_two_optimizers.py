# expect: none
"""Actor-critic with two optimizers on a small bandit with contexts: the advantage is detached for the actor,
the critic has its own loss and its own backward.
"""
import torch
from torch import nn
from torch.distributions import Categorical

torch.manual_seed(0)
torch.set_num_threads(1)

actor = nn.Sequential(nn.Linear(4, 24), nn.Tanh(), nn.Linear(24, 3))
critic = nn.Sequential(nn.Linear(4, 24), nn.Tanh(), nn.Linear(24, 1))
actor_optimizer = torch.optim.Adam(actor.parameters(), lr=1e-2)
critic_optimizer = torch.optim.Adam(critic.parameters(), lr=1e-2)
best_arm = torch.randn(4, 3)

for episode in range(120):
    context = torch.randn(32, 4)
    policy = Categorical(logits=actor(context))
    action = policy.sample()
    reward = (context @ best_arm).gather(1, action.unsqueeze(1)).squeeze(1)
    value = critic(context).squeeze(1)
    advantage = reward - value

    critic_loss = advantage.pow(2).mean()
    critic_optimizer.zero_grad()
    critic_loss.backward()
    critic_optimizer.step()

    actor_loss = -(policy.log_prob(action) * advantage.detach()).mean() - 0.01 * policy.entropy().mean()
    actor_optimizer.zero_grad()
    actor_loss.backward()
    actor_optimizer.step()

print(f"final reward {reward.mean().item():.4f}")
