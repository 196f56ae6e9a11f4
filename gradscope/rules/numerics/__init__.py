"""GS7: what low precision does to numbers."""
