"""What if: switching edges of the circuit off and on, and what that does."""
