"""The Gaussian and the uniform diffusion process (VDM, DiffC, UQDM): closed forms, networks, models, training."""
