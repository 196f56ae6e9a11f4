"""GS4: what the gradients do on their way through the model."""
