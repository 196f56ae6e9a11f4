# expect: none
"""REINFORCE with a learned baseline: episodes of different lengths on a made environment, two optimizers,
losses summed over an episode.
"""
import torch
import torch.nn as nn


class Walk:
    """Walk on a line; the goal is at +4, a hole at -4, each step costs a little."""

    def reset(self):
        self.x = int(torch.randint(-2, 3, ()))
        self.t = 0
        return torch.tensor([self.x / 4.0])

    def step(self, action):
        self.x += 1 if action else -1
        self.t += 1
        done = abs(self.x) == 4 or self.t >= 20
        reward = 1.0 if self.x == 4 else (-1.0 if self.x == -4 else -0.05)
        return torch.tensor([self.x / 4.0]), reward, done


def discounted(rewards, gamma=0.95):
    returns, total = [], 0.0
    for reward in reversed(rewards):
        total = reward + gamma * total
        returns.insert(0, total)
    return torch.tensor(returns)


def main():
    torch.manual_seed(0)
    torch.set_num_threads(1)
    policy = nn.Sequential(nn.Linear(1, 16), nn.Tanh(), nn.Linear(16, 2))
    baseline = nn.Sequential(nn.Linear(1, 16), nn.Tanh(), nn.Linear(16, 1))
    policy_optimizer = torch.optim.Adam(policy.parameters(), lr=0.02)
    baseline_optimizer = torch.optim.Adam(baseline.parameters(), lr=0.02)
    env = Walk()
    history = []
    for episode in range(80):
        state, done, states, log_probs, rewards = env.reset(), False, [], [], []
        while not done:
            distribution = torch.distributions.Categorical(logits=policy(state))
            action = distribution.sample()
            states.append(state)
            log_probs.append(distribution.log_prob(action))
            state, reward, done = env.step(action.item())
            rewards.append(reward)
        returns = discounted(rewards)
        values = baseline(torch.stack(states)).squeeze(1)
        policy_loss = -(torch.stack(log_probs) * (returns - values.detach())).sum()
        baseline_loss = nn.functional.mse_loss(values, returns)
        policy_optimizer.zero_grad()
        baseline_optimizer.zero_grad()
        policy_loss.backward()
        baseline_loss.backward()
        policy_optimizer.step()
        baseline_optimizer.step()
        history.append(sum(rewards))
    print(f"final return {sum(history[-20:]) / 20:.4f}")


if __name__ == "__main__":
    main()
