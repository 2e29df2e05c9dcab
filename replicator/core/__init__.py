"""Pure decisions: no I/O, no clock, no randomness. Times and facts are arguments."""
