"""Stage two (review, Figure 1): a flow, told what a prefix shows, from there to a picture that it may be."""
