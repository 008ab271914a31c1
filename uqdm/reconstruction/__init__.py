"""The second box of the review's Figure 1, P(X^|Y): ways to show what a prefix of a stream tells (uqdm.contract).

Denoise()                 the mean of what the picture may be, the best in PSNR
Refine()                  likewise, by a network that was trained for that: the nested process
Restore(seed=1)           what is missing is drawn by a network that was trained for that: the nested process
Sample(seed=1)            what is missing is drawn from the model itself: the nested process
Ancestral(seed=1)         likewise, in the reverse process: diffusion processes
Diffuse(seed=1)           what is missing is drawn by a conditional diffusion decoder: transform coding
Flow()                    the end of the probability-flow differential equation: diffusion processes
LatentFlow()              noise is taken from a latent by a flow: models of latents
Mixture(realism=0.5, drawn=Sample())    between the mean and a draw (review, Eq. 17)

Names are those of `__init__.pyi`, imported when they are first used.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
