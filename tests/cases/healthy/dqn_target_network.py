# expect: none
"""Deep Q-learning on a small corridor: a target network that gets no optimizer, is reached by no loss, and is
overwritten by a copy of the trained one every few steps.
"""
import random
from collections import deque

import torch
from torch import nn


class Corridor:
    """Ten cells; the agent starts in the middle and is paid for reaching the right end."""

    def reset(self):
        self.position, self.time = 5, 0
        return self.state()

    def state(self):
        return torch.nn.functional.one_hot(torch.tensor(self.position), 11).float()

    def step(self, action):
        self.position = max(0, min(10, self.position + (1 if action == 1 else -1)))
        self.time += 1
        reward = 1.0 if self.position == 10 else 0.0
        return self.state(), reward, self.position in (0, 10) or self.time == 30


def main():
    random.seed(0)
    torch.manual_seed(0)
    torch.set_num_threads(1)
    policy = nn.Sequential(nn.Linear(11, 24), nn.ReLU(), nn.Linear(24, 2))
    target = nn.Sequential(nn.Linear(11, 24), nn.ReLU(), nn.Linear(24, 2))
    target.load_state_dict(policy.state_dict())
    optimizer = torch.optim.Adam(policy.parameters(), lr=3e-3)
    memory = deque(maxlen=500)
    env = Corridor()
    state, updates = env.reset(), 0
    while updates < 120:
        with torch.no_grad():
            action = random.randrange(2) if random.random() < 0.3 else int(policy(state).argmax())
        following, reward, done = env.step(action)
        memory.append((state, action, reward, following, float(done)))
        state = env.reset() if done else following
        if len(memory) < 64:
            continue
        states, actions, rewards, followings, dones = zip(*random.sample(memory, 32))
        q = policy(torch.stack(states)).gather(1, torch.tensor(actions).unsqueeze(1)).squeeze(1)
        best = target(torch.stack(followings)).max(dim=1).values.detach()
        wanted = torch.tensor(rewards) + 0.9 * best * (1 - torch.tensor(dones))
        loss = nn.functional.smooth_l1_loss(q, wanted)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_value_(policy.parameters(), 100)
        optimizer.step()
        updates += 1
        if updates % 20 == 0:
            target.load_state_dict(policy.state_dict())
    print(f"final loss {loss.item():.4f}")


if __name__ == "__main__":
    main()
