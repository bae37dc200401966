"""Groups of nodes: made, named, opened and closed, and their claims checked."""
