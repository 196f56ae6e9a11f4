# expect: none
"""Mixed precision with a GradScaler, bfloat16 autocast, accumulation over two batches, unscale_ and clipping
before the step.
"""
import torch
import torch.nn as nn


def main():
    torch.manual_seed(0)
    torch.set_num_threads(1)
    x = torch.randn(600, 10)
    y = torch.sin(x[:, :2]).sum(dim=1, keepdim=True)
    model = nn.Sequential(nn.Linear(10, 32), nn.ReLU(), nn.Linear(32, 1))
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    scaler = torch.amp.GradScaler("cpu")
    for step in range(60):
        for _ in range(2):
            rows = torch.randint(0, 600, (64,))
            with torch.autocast("cpu", dtype=torch.bfloat16):
                output = model(x[rows])
                loss = nn.functional.mse_loss(output.float(), y[rows])
            scaler.scale(loss / 2).backward()
        scaler.unscale_(optimizer)
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        scaler.step(optimizer)
        scaler.update()
        optimizer.zero_grad(set_to_none=True)
    print(f"final loss {loss.item():.4f}")


if __name__ == "__main__":
    main()
