"""The search: which configuration to try next, from what is known of those before. It needs no server and no worker."""
