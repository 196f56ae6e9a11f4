# expect: none
"""Four optimizers compared on four copies of a net in one loop: per batch each net has its own forward,
zero_grad, backward and step.
"""
import torch
import torch.nn.functional as F
import torch.utils.data as Data

torch.manual_seed(0)
torch.set_num_threads(1)

LR = 0.01
x = torch.unsqueeze(torch.linspace(-1, 1, 512), dim=1)
y = x.pow(2) + 0.1 * torch.normal(torch.zeros(*x.size()))
loader = Data.DataLoader(dataset=Data.TensorDataset(x, y), batch_size=32, shuffle=True)


class Net(torch.nn.Module):
    def __init__(self):
        super(Net, self).__init__()
        self.hidden = torch.nn.Linear(1, 20)
        self.predict = torch.nn.Linear(20, 1)

    def forward(self, x):
        return self.predict(F.relu(self.hidden(x)))


nets = [Net(), Net(), Net(), Net()]
opts = [
    torch.optim.SGD(nets[0].parameters(), lr=LR),
    torch.optim.SGD(nets[1].parameters(), lr=LR, momentum=0.8),
    torch.optim.RMSprop(nets[2].parameters(), lr=LR, alpha=0.9),
    torch.optim.Adam(nets[3].parameters(), lr=LR, betas=(0.9, 0.99)),
]
loss_func = torch.nn.MSELoss()
losses_his = [[], [], [], []]

for epoch in range(3):
    for b_x, b_y in loader:
        for net, opt, l_his in zip(nets, opts, losses_his):
            output = net(b_x)
            loss = loss_func(output, b_y)
            opt.zero_grad()
            loss.backward()
            opt.step()
            l_his.append(loss.item())

for name, history in zip(["SGD", "Momentum", "RMSprop", "Adam"], losses_his):
    print(f"{name}: {sum(history[-5:]) / 5:.4f}")
print(f"final loss {losses_his[3][-1]:.4f}")
