"""Stage two (review, Figure 1): a flow or a diffusion, told what a prefix shows, to a picture that it may be of."""
