"""GS4: what is wrong with the gradients."""
