"""The edges of a circuit as a table beside the graph."""
