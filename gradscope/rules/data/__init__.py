"""GS6: what goes in."""
