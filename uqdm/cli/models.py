"""import-checkpoint: what makes model files."""

import argparse

from uqdm.cli.common import Commands, say, with_force
from uqdm.cli.errors import UserError
from uqdm.cli.files import may_write, write

__all__ = ["add_commands"]


def add_commands(commands: Commands) -> None:
    """Adds them to the parser."""
    sub = commands.add(
        "import-checkpoint",
        _import_checkpoint,
        "make a model file of a checkpoint of the published UQDM",
        "checkpoint.pt config.json tiny.npz",
    )
    sub.add_argument("checkpoint", metavar="CHECKPOINT.pt", help="what PyTorch saved")
    sub.add_argument("config", metavar="CONFIG.json", help="that lies beside it")
    sub.add_argument("output", metavar="OUT.npz", help="the model file")
    sub.add_argument("--raw", action="store_true", help="raw weights and the configured gamma, not moving averages")
    sub.add_argument("--name", default="uqdm", help="name in the model file")
    with_force(sub)


def _import_checkpoint(options: argparse.Namespace) -> None:
    from uqdm.pretrained.published_uqdm import read_published

    may_write(options.output, options.force)
    try:
        published = read_published(options.checkpoint, options.config, average=not options.raw)
    except (OSError, ValueError) as error:
        raise UserError(str(error)) from None
    model = published.model(options.name)
    write(options.output, model.to_bytes(), options.force)
    noise = model.noise
    gammas = f"gamma {noise.gamma_min:.3f} to {noise.gamma_max:.3f}"
    say(f"{options.output}: model {model.id[:4].hex()}, {model.steps} steps, {gammas}")
