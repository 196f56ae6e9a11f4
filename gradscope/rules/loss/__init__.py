"""GS2: what the loss does. All rules judge one stream at a time."""
