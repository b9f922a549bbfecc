"""Reads the flags out of an engine's source, as its parser would have them; nothing of it is imported or run."""
