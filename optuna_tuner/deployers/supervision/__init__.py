"""Pieces of the supervisor. They import nothing but a little of the standard library: it must be small and quick."""
