"""What stands above the graph: what is searched for, and how far the search has come."""
