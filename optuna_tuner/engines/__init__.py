"""Inference servers: parameters to a launch, logs to a cause."""
