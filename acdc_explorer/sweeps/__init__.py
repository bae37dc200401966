"""Searches by the thousand: a grid of settings, a file for each, on whatever runs them."""
