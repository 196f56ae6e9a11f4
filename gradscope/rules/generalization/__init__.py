"""GS9: what the model does on data that it is not trained on."""
