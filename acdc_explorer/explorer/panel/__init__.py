"""What stands beside the graph: the selection in numbers, and other thresholds."""
