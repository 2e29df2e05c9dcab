"""Carries out switches of a flow: journal, executor, and what each step does to the two clusters."""
