"""What the user writes. Reading it has no side effects."""
