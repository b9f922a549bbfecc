"""Study files to start from, and search spaces in tiers, made for the engine's version."""
