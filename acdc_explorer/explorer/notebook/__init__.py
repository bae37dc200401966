"""What the explorer hears of its notebook, and leaves in it."""
