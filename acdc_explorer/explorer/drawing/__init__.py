"""The graph: what of a circuit is drawn, where it stands, and how it looks."""
