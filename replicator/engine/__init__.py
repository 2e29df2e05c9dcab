"""Joins the pure decisions with the wire: pumps, attach, seed, state topic, topic sync, verify."""
