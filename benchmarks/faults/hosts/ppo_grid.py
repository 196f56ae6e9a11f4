# PPO with clipping on a small grid with a wall: the agent is to walk to a goal. One file; result: mean steps it takes.
import time

import torch
import torch.nn as nn
import torch.nn.functional as F
import torch.optim as optim
from torch.distributions.categorical import Categorical

seed = 1
num_envs = 32
num_steps = 32
num_updates = 36
update_epochs = 4
num_minibatches = 4
learning_rate = 2.5e-3
gamma = 0.97
gae_lambda = 0.95
clip_coef = 0.2
ent_coef = 0.01
vf_coef = 0.5
max_grad_norm = 0.5
batch_size = num_envs * num_steps
minibatch_size = batch_size // num_minibatches


class GridWorld:
    """size x size cells, a wall with one gap down the middle; an episode ends at the goal (+1) or after 40 steps."""

    def __init__(self, num_envs, size=5, limit=40):
        self.num_envs, self.size, self.limit = num_envs, size, limit
        self.moves = torch.tensor([[0, 1], [0, -1], [1, 0], [-1, 0]])
        self.agent = self.random_cells(num_envs)
        self.goal = self.random_cells(num_envs)
        self.t = torch.zeros(num_envs, dtype=torch.long)

    def random_cells(self, n):
        cells = torch.randint(0, self.size, (n, 2))
        cells[cells[:, 0] == self.size // 2, 0] += 1
        return cells

    def observe(self):
        cells = torch.cat([self.agent, self.goal], 1)
        return F.one_hot(cells, self.size).flatten(1).float()

    def step(self, action):
        moved = (self.agent + self.moves[action]).clamp(0, self.size - 1)
        blocked = (moved[:, 0] == self.size // 2) & (moved[:, 1] != 1)
        self.agent = torch.where(blocked[:, None], self.agent, moved)
        self.t += 1
        reached = (self.agent == self.goal).all(1)
        done = reached | (self.t >= self.limit)
        reward = reached.float() - 0.02
        steps = self.t.clone()
        n = int(done.sum())
        if n:
            self.agent[done], self.goal[done] = self.random_cells(n), self.random_cells(n)
            self.t[done] = 0
        return self.observe(), reward, done.float(), steps


def layer_init(layer, std=2**0.5, bias_const=0.0):
    torch.nn.init.orthogonal_(layer.weight, std)
    torch.nn.init.constant_(layer.bias, bias_const)
    return layer


class Agent(nn.Module):
    def __init__(self):
        super().__init__()
        self.critic = nn.Sequential(
            layer_init(nn.Linear(20, 64)),
            nn.Tanh(),
            layer_init(nn.Linear(64, 64)),
            nn.Tanh(),
            layer_init(nn.Linear(64, 1), std=1.0),
        )
        self.actor = nn.Sequential(
            layer_init(nn.Linear(20, 64)),
            nn.Tanh(),
            layer_init(nn.Linear(64, 64)),
            nn.Tanh(),
            layer_init(nn.Linear(64, 4), std=0.01),
        )

    def get_value(self, x):
        return self.critic(x)

    def get_action_and_value(self, x, action=None):
        logits = self.actor(x)
        probs = Categorical(logits=logits)
        if action is None:
            action = probs.sample()
        return action, probs.log_prob(action), probs.entropy(), self.critic(x)


def mean_steps(agent, n=256):
    with torch.random.fork_rng(), torch.no_grad():
        torch.manual_seed(12345)
        world = GridWorld(n)
        obs, total, running = world.observe(), torch.zeros(n), torch.ones(n, dtype=torch.bool)
        while running.any():
            obs, _, done, steps = world.step(agent.get_action_and_value(obs)[0])
            total[running] = steps[running].float()
            running &= done == 0
    return total.mean().item()


torch.manual_seed(seed)
torch.set_num_threads(1)
envs = GridWorld(num_envs)
agent = Agent()
optimizer = optim.Adam(agent.parameters(), lr=learning_rate, eps=1e-5)
print(f"start: {mean_steps(agent):.5f}")

obs = torch.zeros((num_steps, num_envs, 20))
actions = torch.zeros((num_steps, num_envs), dtype=torch.long)
logprobs = torch.zeros((num_steps, num_envs))
rewards = torch.zeros((num_steps, num_envs))
dones = torch.zeros((num_steps, num_envs))
values = torch.zeros((num_steps, num_envs))

start_time = time.time()
next_obs = envs.observe()
next_done = torch.zeros(num_envs)
for update in range(1, num_updates + 1):
    # Annealing the rate
    frac = 1.0 - (update - 1.0) / num_updates
    optimizer.param_groups[0]["lr"] = frac * learning_rate

    for step in range(num_steps):
        obs[step] = next_obs
        dones[step] = next_done
        with torch.no_grad():
            action, logprob, _, value = agent.get_action_and_value(next_obs)
            values[step] = value.flatten()
        actions[step] = action
        logprobs[step] = logprob
        next_obs, rewards[step], next_done, _ = envs.step(action)

    # bootstrap value if not done
    with torch.no_grad():
        next_value = agent.get_value(next_obs).reshape(1, -1)
        advantages = torch.zeros_like(rewards)
        lastgaelam = 0
        for t in reversed(range(num_steps)):
            nextnonterminal = 1.0 - (next_done if t == num_steps - 1 else dones[t + 1])
            nextvalues = next_value if t == num_steps - 1 else values[t + 1]
            delta = rewards[t] + gamma * nextvalues * nextnonterminal - values[t]
            advantages[t] = lastgaelam = delta + gamma * gae_lambda * nextnonterminal * lastgaelam
        returns = advantages + values

    b_obs = obs.reshape(-1, 20)
    b_logprobs = logprobs.reshape(-1)
    b_actions = actions.reshape(-1)
    b_advantages = advantages.reshape(-1)
    b_returns = returns.reshape(-1)

    # Optimizing the policy and value network
    for epoch in range(update_epochs):
        b_inds = torch.randperm(batch_size)
        for start in range(0, batch_size, minibatch_size):
            mb_inds = b_inds[start : start + minibatch_size]
            _, newlogprob, entropy, newvalue = agent.get_action_and_value(b_obs[mb_inds], b_actions[mb_inds])
            logratio = newlogprob - b_logprobs[mb_inds]
            ratio = logratio.exp()

            mb_advantages = b_advantages[mb_inds]
            mb_advantages = (mb_advantages - mb_advantages.mean()) / (mb_advantages.std() + 1e-8)

            # Policy loss
            pg_loss1 = -mb_advantages * ratio
            pg_loss2 = -mb_advantages * torch.clamp(ratio, 1 - clip_coef, 1 + clip_coef)
            pg_loss = torch.max(pg_loss1, pg_loss2).mean()

            # Value loss
            newvalue = newvalue.view(-1)
            v_loss = F.mse_loss(newvalue, b_returns[mb_inds])

            loss = pg_loss - ent_coef * entropy.mean() + vf_coef * v_loss

            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(agent.parameters(), max_grad_norm)
            optimizer.step()

    if update % 10 == 0:
        sps = int(update * batch_size / (time.time() - start_time))
        print(f"update {update}: v_loss {v_loss.item():.4f}, pg_loss {pg_loss.item():.4f}, {sps} steps a second")
print(f"result: {mean_steps(agent):.5f}")
