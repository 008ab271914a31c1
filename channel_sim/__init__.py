"""One-shot channel simulation: sending a sample of a channel's output instead of its input.

A `Channel` sends a sample of a target distribution that only the sender knows, at a cost near the mutual information,
with the help of common randomness. See `channel_sim.channel` for the contract and each module for its theory.

Names are those of `__init__.pyi`, imported when they are first used, so that an entropy coder does not wait for all
channels.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
