"""Whether a model fits on given GPUs with given flags, and how many tokens and requests it can then hold."""
