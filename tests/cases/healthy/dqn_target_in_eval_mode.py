# expect: none
"""DQN on a small balancing task, its target network in eval mode: the loss grows with the values."""
import copy
import random
from collections import deque

import torch
from torch import nn

torch.manual_seed(0)
torch.set_num_threads(1)
random.seed(0)


class Balance:
    def reset(self):
        self.x, self.v, self.t = random.uniform(-1, 1), 0.0, 0
        return [self.x, self.v]

    def step(self, action):
        self.v += 0.1 * (2 * action - 1)
        self.x += 0.1 * self.v
        self.t += 1
        fallen = abs(self.x) > 2
        return [self.x, self.v], float(not fallen), fallen or self.t >= 100


q = nn.Sequential(nn.Linear(2, 64), nn.ReLU(), nn.Linear(64, 2))
target = copy.deepcopy(q).eval().requires_grad_(False)
optimizer = torch.optim.AdamW(q.parameters(), lr=1e-3)
memory, environment, seen = deque(maxlen=5000), Balance(), 0
while seen < 3000:
    state, done = environment.reset(), False
    while not done:
        if random.random() < max(0.05, 1 - seen / 1500):
            action = random.randrange(2)
        else:
            with torch.no_grad():
                action = int(q(torch.tensor(state)).argmax())
        following, reward, done = environment.step(action)
        memory.append((state, action, reward, following, float(done)))
        state = following
        seen += 1
        if len(memory) > 64:
            sample = [torch.tensor(column) for column in zip(*random.sample(memory, 64))]
            states, actions, rewards, followings, ends = sample
            goal = rewards + 0.99 * (1 - ends) * target(followings).max(dim=1).values
            loss = nn.functional.mse_loss(q(states).gather(1, actions[:, None])[:, 0], goal)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        if seen % 200 == 0:
            target.load_state_dict(q.state_dict())
print(f"final loss {loss.item():.4f}")
