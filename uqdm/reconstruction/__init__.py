"""The second box of the review's Figure 1, P(X^|Y): ways to show what a prefix of a stream tells (uqdm.contract).

Denoise()                 the mean of what the picture may be, the best in PSNR
Sample(seed=1)            what is missing is drawn from the model: the nested process
Ancestral(seed=1)         likewise, in the reverse process: diffusion processes
Flow()                    the end of the probability-flow differential equation: diffusion processes
Mixture(realism=0.5, drawn=Sample())    between the mean and a draw (review, Eq. 17)
"""

from uqdm.reconstruction.denoise import Denoise as Denoise
from uqdm.reconstruction.realism import Mixture as Mixture
from uqdm.reconstruction.reverse import Ancestral as Ancestral
from uqdm.reconstruction.reverse import Flow as Flow
from uqdm.reconstruction.sample import Sample as Sample

BY_NAME = {"denoise": Denoise, "sample": Sample, "ancestral": Ancestral, "flow": Flow}
"""What strings stand for."""


def named(name: str) -> Denoise | Sample | Ancestral | Flow:
    """The reconstruction of a name, with its defaults.

    Raises:
      ValueError: there is none of that name.
    """
    if name not in BY_NAME:
        raise ValueError(f"reconstruction must be one of {', '.join(BY_NAME)}, got {name!r}")
    return BY_NAME[name]()
