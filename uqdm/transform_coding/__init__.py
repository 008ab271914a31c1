"""Nonlinear transform coding (review, Section II-B), and its receiver that is a conditional diffusion model (Eq. 22)."""
