"""One-shot channel simulation: sending a sample of a channel's output instead of its input.

A `Channel` sends a sample of a target distribution that only the sender knows, at a cost near the mutual information,
with the help of common randomness. See `channel_sim.channel` for the contract and each module for its theory.
"""

from channel_sim.channel import Categorical as Categorical
from channel_sim.channel import Channel as Channel
from channel_sim.channel import Gaussian as Gaussian
from channel_sim.channel import Logistic as Logistic
from channel_sim.channel import Uniform as Uniform
from channel_sim.channel import decode as decode
from channel_sim.channel import encode as encode
from channel_sim.channel import kl_bits as kl_bits
from channel_sim.dither import DitheredQuantization as DitheredQuantization
from channel_sim.dither import NestedDitheredQuantization as NestedDitheredQuantization
from channel_sim.entropy import Reader as Reader
from channel_sim.entropy import Writer as Writer
from channel_sim.gaussian import GaussianChannel as GaussianChannel
from channel_sim.layered import LayeredQuantization as LayeredQuantization
from channel_sim.ordered import OrderedRandomCoding as OrderedRandomCoding
from channel_sim.poisson import PoissonFunctionalRepresentation as PoissonFunctionalRepresentation
from channel_sim.randomness import SharedRandomness as SharedRandomness
from channel_sim.rejection import GreedyRejection as GreedyRejection
from channel_sim.split_tables import SplitTables as SplitTables

__all__ = [
    "Categorical",
    "Channel",
    "DitheredQuantization",
    "Gaussian",
    "GaussianChannel",
    "GreedyRejection",
    "LayeredQuantization",
    "Logistic",
    "NestedDitheredQuantization",
    "OrderedRandomCoding",
    "PoissonFunctionalRepresentation",
    "Reader",
    "SharedRandomness",
    "SplitTables",
    "Uniform",
    "Writer",
    "decode",
    "encode",
    "kl_bits",
]
