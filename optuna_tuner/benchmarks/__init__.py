"""Load clients: an endpoint to measurements."""
