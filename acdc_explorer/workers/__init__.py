"""Work shared out over processes: where it runs, what comes back, and the model they all load."""
