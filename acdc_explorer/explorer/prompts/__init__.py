"""A circuit prompt by prompt."""
