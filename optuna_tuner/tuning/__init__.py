"""The work: a trial, a worker, all workers."""
