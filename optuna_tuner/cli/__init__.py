"""The command line: a skin over `Tuner`."""
