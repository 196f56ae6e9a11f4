"""The record of a run: arrays and facts, bounded in memory and on disk. Never imports torch."""
