"""Codecs of the latent of a pretrained autoencoder: the autoencoder itself, and what is sent of its latents."""
