# expect: none
"""PPO with a shared network: as episodes grow longer, the returns and the value loss grow."""
import torch
from torch import nn

torch.manual_seed(0)
torch.set_num_threads(1)
ENVIRONMENTS = 32


class ActorCritic(nn.Module):
    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(nn.Linear(2, 64), nn.Tanh(), nn.Linear(64, 64), nn.Tanh())
        self.policy = nn.Linear(64, 2)
        self.value = nn.Linear(64, 1)

    def forward(self, observation):
        hidden = self.body(observation)
        return torch.distributions.Categorical(logits=self.policy(hidden)), self.value(hidden)[:, 0]


def advance(state, action):
    x, v = state.unbind(1)
    v = v + 0.3 * x + 0.12 * (2 * action - 1) + 0.02 * torch.randn(ENVIRONMENTS)
    state = torch.stack([x + 0.3 * v, v], dim=1)
    fallen = state[:, 0].abs() > 1
    state[fallen] = 0.05 * torch.randn(int(fallen.sum()), 2)
    return state, fallen.float()


model = ActorCritic()
optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
state = 0.05 * torch.randn(ENVIRONMENTS, 2)
for update in range(40):
    seen = []
    with torch.no_grad():
        for _ in range(64):
            choice, value = model(state)
            action = choice.sample()
            before = state
            state, fallen = advance(state, action)
            seen.append((before, action, choice.log_prob(action), value, fallen))
        total, returns = model(state)[1], []
        for *_, fallen in reversed(seen):
            total = 1 + 0.99 * total * (1 - fallen)
            returns.insert(0, total)
    states, actions, logs, values, _ = (torch.cat(column) for column in zip(*seen))
    returns = torch.cat(returns)
    advantage = returns - values
    advantage = (advantage - advantage.mean()) / (advantage.std() + 1e-8)
    for _ in range(4):
        for batch in torch.randperm(len(states)).split(128):
            choice, value = model(states[batch])
            ratio = (choice.log_prob(actions[batch]) - logs[batch]).exp()
            gain = torch.min(ratio * advantage[batch], ratio.clamp(0.8, 1.2) * advantage[batch]).mean()
            loss = 0.5 * nn.functional.mse_loss(value, returns[batch]) - gain - 0.01 * choice.entropy().mean()
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), 0.5)
            optimizer.step()
print(f"mean return {returns.mean():.1f}")
