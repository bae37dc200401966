"""Below the graph: whether the circuit is right, measured when somebody asks."""
