"""A world for the real classes of the copy: a loop whose time is told, two clusters in memory, a network between.

Everything above a socket is what runs in production: connections, clusters, the state log, claims, offset maps,
readers, writers, the attach loop, fills. Brokers, the bytes on their way and the clock are the world's, and a history
decides what happens next: which request is taken, which answer arrives, what is lost, who dies. Begin with `world.py`.
"""
