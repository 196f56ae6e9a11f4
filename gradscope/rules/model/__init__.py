"""GS5: what the model itself is made of."""
