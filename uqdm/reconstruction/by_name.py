"""Reconstructions by their names, so that only those that are asked for are imported."""

from pkgutil import resolve_name

from uqdm.contract import Reconstruction

__all__ = ["NAMES", "named"]

_CLASSES = {
    "denoise": "uqdm.reconstruction.denoise:Denoise",
    "refine": "uqdm.reconstruction.restore:Refine",
    "restore": "uqdm.reconstruction.restore:Restore",
    "sample": "uqdm.reconstruction.sample:Sample",
    "ancestral": "uqdm.reconstruction.reverse:Ancestral",
    "diffuse": "uqdm.reconstruction.diffuse:Diffuse",
    "flow": "uqdm.reconstruction.reverse:Flow",
    "latent_flow": "uqdm.reconstruction.latent_flow:LatentFlow",
}
NAMES = tuple(_CLASSES)
"""What strings stand for."""


def named(name: str) -> Reconstruction:
    """The reconstruction of a name, with its defaults.

    Raises:
      ValueError: there is none of that name.
    """
    if name not in _CLASSES:
        raise ValueError(f"reconstruction must be one of {', '.join(NAMES)}, got {name!r}")
    return resolve_name(_CLASSES[name])()
