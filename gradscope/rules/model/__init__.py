"""GS5: the model itself: its activations, its initialisation, its layers."""
