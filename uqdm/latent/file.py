"""Model files of latents: autoencoder, predictor of noise, width and scale in one archive (uqdm.archive).

    config             JSON: process "latent", format, name, width, dithered, network (uqdm.latent.network) or null
    autoencoder/...    as files of autoencoders have it (uqdm.transforms.autoencoder)
    prediction/...     int32: uqdm.latent.prediction.Prediction
    tables/...         uint16: channel_sim.split_tables
    network/...        float16: parameters of the network, where there is one
    linear/...         float32: moments of latents and of their errors (uqdm.latent.linear), where there is none

The id covers all of it: streams name the autoencoder, the predictor, its scale and the rate that they were made with.
"""

from collections.abc import Mapping
from typing import Any

import jax
import numpy as np

from channel_sim.split_tables import SplitTables
from uqdm import archive
from uqdm.latent import network as networks
from uqdm.latent.denoising import NetworkPredictor
from uqdm.latent.linear import LinearPredictor
from uqdm.latent.model import LatentModel
from uqdm.latent.network import LatentNetworkConfig
from uqdm.latent.prediction import Prediction
from uqdm.transforms.autoencoder import Autoencoder

__all__ = ["LatentFile", "read_model"]

_FORMAT, _WIDEST = 1, 1e6


class LatentFile(archive.Contents):
    """Contents of a file."""

    @classmethod
    def from_parts(
        cls,
        *,
        autoencoder: Autoencoder,
        width: float,
        dithered: bool,
        prediction: Prediction,
        tables: SplitTables | None = None,
        network: tuple[LatentNetworkConfig, Any] | None = None,
        linear: Mapping[str, np.ndarray] | None = None,
        name: str = "latent",
    ) -> "LatentFile":
        """Puts a file together.

        Args:
          autoencoder: of pictures.
          width: of quantization.
          dithered: whether it is.
          prediction: made for all of that (uqdm.latent.prediction.fitted).
          tables: logistic ones by default.
          network: that takes noise from latents, and its parameters.
          linear: moments for a linear denoiser, which is taken where there is no network.
          name: for people.
        """
        config = {
            "process": "latent",
            "format": _FORMAT,
            "name": name,
            "width": float(width),
            "dithered": bool(dithered),
            "network": networks.to_config(network[0]) if network else None,
        }
        arrays = {"config": archive.pack_config(config)}
        arrays |= {name: array for name, array in autoencoder.arrays.items() if name != "config"}
        arrays |= {f"prediction/{name}": array.astype(np.int32) for name, array in prediction.to_arrays().items()}
        arrays |= {f"tables/{name}": array for name, array in (tables or SplitTables.logistic()).to_arrays().items()}
        for path, leaf in jax.tree_util.tree_leaves_with_path(network[1] if network else {}):
            arrays["network/" + "/".join(str(part.key) for part in path)] = np.asarray(leaf, np.float16)
        arrays |= {f"linear/{name}": np.asarray(array, np.float32) for name, array in (linear or {}).items()}
        return cls(arrays=arrays)

    @property
    def autoencoder(self) -> Autoencoder:
        """Its own."""
        config = archive.pack_config({"process": "autoencoder", "format": 1, "name": self.name})
        parts = {name: array for name, array in self.arrays.items() if name.startswith("autoencoder/")}
        return Autoencoder.from_arrays({"config": config, **parts})

    @property
    def network(self) -> tuple[LatentNetworkConfig, Any] | None:
        """That takes noise from latents, with parameters in float32."""
        if self.config["network"] is None:
            return None
        config = networks.from_config(self.config["network"])
        return config, archive.parameters(archive.under("network/", self.arrays), networks.shapes(config))

    def _linear(self, width: float) -> LinearPredictor | None:
        moments = archive.under("linear/", self.arrays)
        return LinearPredictor(moments, width) if moments else None

    def model(self) -> LatentModel:
        """Which codes.

        Raises:
          ValueError: parts do not fit each other.
        """
        autoencoder, network = self.autoencoder, self.network
        prediction = Prediction.from_arrays(archive.under("prediction/", self.arrays))
        width, dithered = float(self.config["width"]), self.config["dithered"]
        if not isinstance(dithered, bool):
            raise ValueError(f"dithered must be true or false, got {dithered!r}")
        channels = {autoencoder.channels, len(prediction.order)}
        channels |= {network[0].channels} if network else set()
        channels |= {len(self.arrays["linear/mean"])} if "linear/mean" in self.arrays else set()
        if len(channels) > 1 or not 0 < width < _WIDEST:
            raise ValueError(f"the parts of this model have {channels} channels, and a width of {width}")
        return LatentModel(
            latents=autoencoder.latents,
            width=width,
            dithered=dithered,
            prediction=prediction,
            tables=SplitTables.from_arrays(**archive.under("tables/", self.arrays)),
            predictor=NetworkPredictor(*network, dithered=dithered) if network else self._linear(width),
            id=self.id,
            name=self.name,
        )


def read_model(arrays: Mapping[str, np.ndarray]) -> LatentModel:
    """The model of a file (uqdm.library).

    Raises:
      ValueError: the format is unknown, or parts do not fit each other.
    """
    file = LatentFile(arrays=arrays)
    kind, known = (file.config.get(name) for name in ("process", "format"))
    if (kind, known) != ("latent", _FORMAT):
        raise ValueError(f"a {kind or 'model'} of format {known} is no model of latents of format {_FORMAT}")
    return file.model()
