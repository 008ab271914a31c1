"""One-shot channel simulation: sending a sample of a channel's output instead of its input.

A `Channel` sends a sample of a target distribution that only the sender knows, at a cost near the mutual information,
with the help of common randomness. See `channel_sim.channel` for the contract and each module for its theory.
"""

from channel_sim.channel import Channel as Channel
from channel_sim.channel import Gaussian as Gaussian
from channel_sim.channel import Logistic as Logistic
from channel_sim.channel import Uniform as Uniform
from channel_sim.channel import kl_bits as kl_bits
from channel_sim.dither import DitheredQuantization as DitheredQuantization
from channel_sim.dither import NestedDitheredQuantization as NestedDitheredQuantization
from channel_sim.entropy import Reader as Reader
from channel_sim.entropy import Writer as Writer
from channel_sim.randomness import SharedRandomness as SharedRandomness
from channel_sim.split_tables import SplitTables as SplitTables

__all__ = [
    "Channel",
    "DitheredQuantization",
    "Gaussian",
    "Logistic",
    "NestedDitheredQuantization",
    "Reader",
    "SharedRandomness",
    "SplitTables",
    "Uniform",
    "Writer",
    "kl_bits",
]
