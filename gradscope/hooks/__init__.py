"""Every touch of torch's internals, and its exact undoing. Nothing here knows the record."""
