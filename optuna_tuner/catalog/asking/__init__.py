"""Asks an engine itself for its flags, and reads the help text that it prints."""
