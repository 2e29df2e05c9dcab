"""How consumer groups follow."""
