"""Pure decisions: no I/O, no clock, no randomness. Times and facts are arguments.

Each room decides for the room of `engine` with the same name; `acl` says who may do what, `status` what is shown.
"""
