"""import-checkpoint, import-autoencoder and warm-up: what makes model files, and what makes models ready."""

import argparse

from uqdm.cli.common import Commands, model_name, model_of, with_force
from uqdm.cli.errors import UserError
from uqdm.cli.files import may_write, write
from uqdm.cli.progress import Progress, say

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
    sub.add_argument("--name", type=model_name, default="uqdm", help="name in the model file")
    with_force(sub)

    sub = commands.add(
        "import-autoencoder",
        _import_autoencoder,
        "make a model file of the two checkpoints of a tiny autoencoder (TAESD, taef2)",
        "encoder.pth decoder.pth taef2.npz",
    )
    sub.add_argument("encoder", metavar="ENCODER.pth", help="what PyTorch saved of the encoder")
    sub.add_argument("decoder", metavar="DECODER.pth", help="and of the decoder")
    sub.add_argument("output", metavar="OUT.npz", help="the model file")
    sub.add_argument("--name", type=model_name, default="autoencoder", help="name in the model file")
    with_force(sub)

    sub = commands.add(
        "warm-up",
        _warm_up,
        "compile now what pictures of any size need, so that nobody waits for it later",
        "\n--model photo",
    )
    sub.add_argument("--model", metavar="NAME", help="a model of the package or a file (all models of the package)")


def _import_checkpoint(options: argparse.Namespace) -> None:
    from uqdm.pretrained.published_uqdm import read_published

    may_write(options.output, options.force)
    try:
        published = read_published(options.checkpoint, options.config, average=not options.raw)
        model = published.model(options.name)
        _ = model.parameters  # which looks at their shapes
    except (OSError, ValueError) as error:
        raise UserError(_told(error)) from None
    write(options.output, model.to_bytes(), options.force)
    noise = model.noise
    gammas = f"gamma {noise.gamma_min:.3f} to {noise.gamma_max:.3f}"
    say(f"{options.output}: model {model.id[:4].hex()}, {model.steps} steps, {gammas}")


def _import_autoencoder(options: argparse.Namespace) -> None:
    from uqdm.nested.latent_model import coder_for
    from uqdm.pretrained.tiny_autoencoder import read_tiny_autoencoder

    may_write(options.output, options.force)
    try:
        autoencoder = read_tiny_autoencoder(options.encoder, options.decoder, name=options.name)
    except (OSError, ValueError) as error:
        raise UserError(_told(error)) from None
    write(options.output, autoencoder.to_bytes(), options.force)
    facts = f"{autoencoder.channels} channels at 1/{autoencoder.factor} of the sides"
    coder = coder_for(autoencoder)
    use = (
        "no coder of its latents is in the package"
        if coder is None
        else f"a model of {coder.steps} steps: --model takes it"
    )
    say(f"{options.output}: autoencoder {autoencoder.id[:4].hex()}, {facts}; {use}")


def _told(error: OSError | ValueError) -> str:
    """What to say of a file that cannot be read, or is none that is wanted."""
    unreadable = isinstance(error, OSError) and error.filename is not None
    return f"cannot read {error.filename}: {error.strerror}" if unreadable else str(error)


def _warm_up(options: argparse.Namespace) -> None:
    from uqdm.exact.programs import cache_folder, ready
    from uqdm.library import SHIPPED
    from uqdm.lossless.predicted import load_residual
    from uqdm.nested.model import NestedModel

    folder = cache_folder()
    if folder is None:
        raise UserError("UQDM_CACHE turns the cache off and nothing would be left: unset it or name a folder in it")
    models = [model_of(name) for name in ((options.model,) if options.model else SHIPPED)]
    if not isinstance(models[0], NestedModel):
        raise UserError(f"{options.model} compiles for every size of picture anew: there is nothing to prepare")
    programs = [program for model in (*models, load_residual()) for program in model.programs()]
    with Progress(len(programs), "compile", "programme") as bar:
        for program in programs:
            ready(program)
            bar.update()
    say(f"{folder}: ready")
