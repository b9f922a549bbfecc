"""Which flags each version of each engine has: catalogues as data, and the code that reads and refreshes them."""
