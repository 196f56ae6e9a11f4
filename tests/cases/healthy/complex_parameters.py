# expect: none
"""A filter with complex-valued parameters is fitted to a signal in the frequency domain; the loss is real, the
gradients are complex.
"""
import torch
from torch import nn


class SpectralFilter(nn.Module):
    def __init__(self, length):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(length // 2 + 1, dtype=torch.cfloat) * 0.1)
        self.gain = nn.Parameter(torch.ones(1))

    def forward(self, signal):
        spectrum = torch.fft.rfft(signal) * self.weight
        return self.gain * torch.fft.irfft(spectrum, n=signal.size(-1))


torch.manual_seed(0)
torch.set_num_threads(1)
kernel = torch.exp(-torch.arange(64) / 4.0)
kernel_spectrum = torch.fft.rfft(kernel / kernel.sum())
model = SpectralFilter(64)
optimizer = torch.optim.Adam(model.parameters(), lr=0.03)
for step in range(100):
    signal = torch.randn(32, 64)
    target = torch.fft.irfft(torch.fft.rfft(signal) * kernel_spectrum, n=64)
    loss = (model(signal) - target).abs().square().mean()
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
print(f"final loss {loss.item():.4f}")
