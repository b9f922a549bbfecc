"""What the user takes home."""
