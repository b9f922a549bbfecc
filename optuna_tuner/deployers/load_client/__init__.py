"""Load clients that run in a cluster, next to the server: what is sent, what runs there, how the report comes back."""
