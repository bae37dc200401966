"""Circuits in the files of other tools: one module for each format, which reads and writes it."""
