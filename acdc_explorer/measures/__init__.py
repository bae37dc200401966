"""Whether a circuit is right: how well it does the task, against what else would."""
