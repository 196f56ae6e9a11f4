"""GS8: what must be the same in all processes that train together."""
