"""Landscapes, and what is played on them."""
