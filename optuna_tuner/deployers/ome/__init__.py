"""Servers as InferenceServices of the Open Model Engine (OME), on a cluster that has it."""
