"""GS1: how the calls of the loop are wired. Facts, not statistics."""
