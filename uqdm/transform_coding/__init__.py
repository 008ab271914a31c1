"""Nonlinear transform coding (review, Section II-B), and a receiver that is a conditional diffusion model (Eq. 22)."""
