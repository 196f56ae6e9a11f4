"""Deep Q-learning of CartPole, whose physics stand below; replay memory, target network, Huber loss, Adam."""
import math
import random
from collections import deque

import torch
import torch.nn as nn
import torch.optim as optim

BATCH_SIZE = 64
GAMMA = 0.98
EPS_START, EPS_END, EPS_DECAY = 0.9, 0.05, 600
SYNC = 100
LR = 1e-3
STEPS = 4000
random.seed(0)
torch.manual_seed(0)
torch.set_num_threads(1)


class CartPole:
    """The cart and pole of Barto, Sutton and Anderson (1983), as in the usual gym environment; 200 steps at most."""

    def reset(self, rng=random):
        self.state, self.t = [rng.uniform(-0.05, 0.05) for _ in range(4)], 0
        return list(self.state)

    def step(self, action):
        x, v, angle, spin = self.state
        force, cos, sin = (10.0 if action == 1 else -10.0), math.cos(angle), math.sin(angle)
        push = (force + 0.05 * spin**2 * sin) / 1.1
        turn = (9.8 * sin - cos * push) / (0.5 * (4.0 / 3.0 - 0.1 * cos**2 / 1.1))
        pull = push - 0.05 * turn * cos / 1.1
        self.state = [x + 0.02 * v, v + 0.02 * pull, angle + 0.02 * spin, spin + 0.02 * turn]
        self.t += 1
        fell = abs(self.state[0]) > 2.4 or abs(self.state[2]) > 12 * math.pi / 180
        return list(self.state), 1.0, fell, fell or self.t >= 200


class DQN(nn.Module):
    def __init__(self, hidden=64):
        super().__init__()
        self.layer1 = nn.Linear(4, hidden)
        self.layer2 = nn.Linear(hidden, hidden)
        self.layer3 = nn.Linear(hidden, 2)

    def forward(self, x):
        x = torch.relu(self.layer1(x))
        x = torch.relu(self.layer2(x))
        return self.layer3(x)


def optimize_model():
    states, actions, rewards, next_states, dones = zip(*random.sample(memory, BATCH_SIZE))
    state, next_state = torch.tensor(states), torch.tensor(next_states)
    action, reward, done = torch.tensor(actions), torch.tensor(rewards), torch.tensor(dones, dtype=torch.float32)
    q = policy_net(state).gather(1, action.unsqueeze(1)).squeeze(1)
    with torch.no_grad():
        target = reward + GAMMA * target_net(next_state).max(1).values * (1 - done)
    loss = criterion(q, target)
    optimizer.zero_grad()
    loss.backward()
    nn.utils.clip_grad_value_(policy_net.parameters(), 100)
    optimizer.step()
    return loss.item()


def minus_return(episodes=20):
    """The mean over episodes that the greedy policy plays from fixed starts."""
    rng, env, total = random.Random(1), CartPole(), 0.0
    for _ in range(episodes):
        state, over = env.reset(rng), False
        while not over:
            with torch.no_grad():
                state, reward, _, over = env.step(int(policy_net(torch.tensor(state)).argmax()))
            total += reward
    return -total / episodes


policy_net, target_net = DQN(), DQN()
target_net.load_state_dict(policy_net.state_dict())
optimizer = optim.Adam(policy_net.parameters(), lr=LR)
criterion = nn.SmoothL1Loss()
memory = deque(maxlen=5000)
print(f"start: {minus_return():.3f}")
env = CartPole()
state = env.reset()
for step in range(STEPS):
    if random.random() < EPS_END + (EPS_START - EPS_END) * math.exp(-step / EPS_DECAY):
        action = random.randrange(2)
    else:
        with torch.no_grad():
            action = int(policy_net(torch.tensor(state)).argmax())
    next_state, reward, fell, over = env.step(action)
    memory.append((state, action, reward, next_state, fell))
    state = env.reset() if over else next_state
    if len(memory) >= 200:
        loss = optimize_model()
    if step % SYNC == 0:
        target_net.load_state_dict(policy_net.state_dict())
    if step % 1000 == 999:
        print(f"step {step + 1}: loss {loss:.4f}, return {-minus_return(5):.1f}")
print(f"result: {minus_return():.3f}")
