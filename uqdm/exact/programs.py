"""Programmes that are compiled once, ever: ready executables in memory, and in a folder for processes to come.

JAX traces, lowers and compiles a function anew in every process; its own cache saves the last of the three. Here the
executable itself is kept, and a process that finds it does none of them. The file of an executable is named by the
SHA-256 of all that it depends on,

    environment    versions of jax and jaxlib, flags, platform, device, features of the processor
    programme      the function, its static arguments, the shapes of the others, the sources               (1)

so that nothing made elsewhere or otherwise is ever loaded. The folder is `$UQDM_CACHE`, or else `uqdm` in
`$XDG_CACHE_HOME`, or else `~/.cache/uqdm`; `UQDM_CACHE=off` keeps everything in memory. Code is loaded from it, so it
must belong to the user (or to root) alone. Files are written whole or not at all, checked when they are read, and those
that were not used for longest go when there are more than `LIMIT_BYTES` of them. What is wrong with the folder is
logged in one line; then programmes are compiled, as if there were none.
"""

import contextlib
import functools
import hashlib
import logging
import math
import os
import platform
import re
import subprocess
import tempfile
import threading
from collections.abc import Callable, Hashable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from importlib import resources
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from jax.experimental import serialize_executable

__all__ = ["LIMIT_BYTES", "Program", "abandon", "cache_folder", "on_compile", "prepare", "ready", "remembered", "run"]

LIMIT_BYTES = 2**28
"""Of all files in the folder."""

on_compile: list[Callable[[], object]] = []
"""Called before every compilation, in the thread that compiles."""

_LOG = logging.getLogger("uqdm")


class Program(NamedTuple):
    """A function to be compiled.

    Attributes:
      function: of `statics` and `arguments`, a function of a module; it gives a tuple of arrays.
      statics: what is compiled in; its `repr` must say all of it.
      arguments: arrays or what has their shapes and dtypes, in tuples or dictionaries.
    """

    function: Callable[..., tuple]
    statics: tuple[Hashable, ...]
    arguments: tuple[Any, ...]

    @property
    def shapes(self) -> tuple:
        """Structure, shapes and dtypes of the arguments."""
        leaves, structure = jax.tree_util.tree_flatten((self.arguments, {}))
        return structure, *((np.shape(leaf), np.dtype(leaf.dtype).name) for leaf in leaves)

    @property
    def name(self) -> str:
        """Of its file, Eq. 1."""
        function = f"{self.function.__module__}.{self.function.__qualname__}"
        known = (function, *map(repr, self.statics), *map(repr, self.shapes), _sources(self.function.__module__))
        return f"{self.function.__name__}-{_digest(known)}"


def ready(program: Program) -> Callable[..., tuple]:
    """The programme as a function of its arguments: from memory, from the folder, or compiled now."""
    if jax.config.jax_disable_jit:
        return functools.partial(program.function, *program.statics)
    future, new = _promised(program)
    if new:
        _keep(future, program)
    return future.result()


def prepare(programs: Iterable[Program], *, compiled: bool = False) -> None:
    """Begins to load programmes that the folder has, in the background and one after the other.

    Args:
      programs: in the order in which they will be asked for.
      compiled: whether those that it has not are compiled.
    """
    folder = _folder()
    if jax.config.jax_disable_jit:
        return
    for program in programs:
        if compiled or (folder is not None and (folder / program.name).exists()):
            future, new = _promised(program)
            if new:
                _begun.append((_workers().submit(_keep, future, program), future, _key_of(program)))


def abandon() -> None:
    """Gives up what `prepare` was asked for and has not begun: a process ends sooner."""
    while _begun:
        job, future, key = _begun.pop()
        if job.cancel():
            with _promises_lock:
                del _promises[key]
            future.cancel()  # nobody shall wait for it


def run(function: Callable[..., tuple], statics: tuple[Hashable, ...], *arguments: Any) -> tuple:
    """What a function gives, by its programme."""
    return ready(Program(function, statics, arguments))(*arguments)


def remembered(name: str, find: Callable[[], str]) -> str:
    """A word about the environment: from the folder, or found now.

    Args:
      name: of what is asked.
      find: gives the word, which must depend on the environment and on the sources of its module alone.
    """
    name = f"{name}-{_digest((_sources(find.__module__),))}"
    stored = _read(name)
    if stored is not None:
        return stored.decode()
    word = find()
    _write(name, word.encode())
    return word


_promises: dict[tuple, Future] = {}
_promises_lock = threading.Lock()
_begun: list[tuple[Future, Future, tuple]] = []
"""What `prepare` was asked for: the job, where the programme will be, and its key."""


def _key_of(program: Program) -> tuple:
    return program.function, program.statics, program.shapes


def _promised(program: Program) -> tuple[Future, bool]:
    """Where a programme is or will be, and whether that is up to the caller."""
    key = _key_of(program)
    with _promises_lock:
        new = key not in _promises
        return _promises.setdefault(key, Future()), new


@functools.cache
def _workers() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(max(2, min(os.cpu_count() or 2, 8)), thread_name_prefix="uqdm-programs")


def _keep(future: Future, program: Program) -> None:
    """Keeps a promise, or takes it back, so that the next one who needs the programme tries again."""
    try:
        future.set_result(_loaded(program) or _compiled(program))
    except BaseException as error:
        with _promises_lock:
            _promises.pop(_key_of(program), None)
        future.set_exception(error)


def _loaded(program: Program) -> Callable[..., tuple] | None:
    name = program.name
    stored = _read(name)
    if stored is None:
        return None
    _, arguments = jax.tree_util.tree_flatten((program.arguments, {}))
    results = jax.tree_util.tree_structure((0,) * stored[0])
    try:
        devices = jax.devices()[:1]
        return serialize_executable.deserialize_and_load(stored[1:], arguments, results, execution_devices=devices)
    except Exception as error:  # of any kind: what is wrong with it is not worth more than compiling
        _warn(f"cannot use {name} from the cache ({_one_line(error)}): compiling it")
        return None


def _compiled(program: Program) -> Callable[..., tuple]:
    for listener in on_compile:
        listener()
    function = functools.partial(program.function, *program.statics)
    with _not_in_jax_cache():
        compiled = jax.jit(function).lower(*program.arguments).compile()
    if _folder() is not None:
        try:
            executable, _, results = serialize_executable.serialize(compiled)
        except Exception as error:  # platforms that cannot, each in its own way
            _warn(f"this platform's programmes cannot be cached ({_one_line(error)})")
        else:
            _write(program.name, bytes([results.num_leaves]) + executable)
    return compiled


_outside, _least_seconds = 0, 0.0
_outside_lock = threading.Lock()


@contextlib.contextmanager
def _not_in_jax_cache() -> Iterator[None]:
    """Keeps what is compiled out of JAX's own cache: an executable that comes from there cannot be serialized again."""
    global _outside, _least_seconds
    with _outside_lock:
        _outside += 1
        if _outside == 1:
            _least_seconds = jax.config.jax_persistent_cache_min_compile_time_secs
            jax.config.update("jax_persistent_cache_min_compile_time_secs", math.inf)
    try:
        yield
    finally:
        with _outside_lock:
            _outside -= 1
            if _outside == 0:
                jax.config.update("jax_persistent_cache_min_compile_time_secs", _least_seconds)


def _one_line(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}".splitlines()[0][:120]


_ENVIRONMENT, _WRITTEN, _PARTIAL = re.compile("[0-9a-f]{32}"), re.compile(".+-[0-9a-f]{32}"), ".partial-"
"""Names of folders of environments (`_digest`), of files in them, and how those begin that are being written."""


def _digest(known: Iterable[str]) -> str:
    return hashlib.sha256("\n".join(known).encode()).hexdigest()[:32]


@functools.cache
def _sources(module: str) -> str:
    """Digest of the sources that programmes of a module are made of: its package's, and those of what it stands on."""
    total = hashlib.sha256()
    package = module.rpartition(".")[0]
    for room in sorted({package, "uqdm.exact", "uqdm.transforms"}):
        for file in sorted(resources.files(room).iterdir(), key=lambda file: file.name):
            if file.name.endswith(".py"):
                total.update(f"{room}/{file.name}\n".encode() + file.read_bytes())
    return total.hexdigest()


_SETTINGS = (
    "jax_enable_x64",
    "jax_default_matmul_precision",
    "jax_disable_most_optimizations",
    "jax_optimization_level",
    "jax_exec_time_optimization_effort",
    "jax_num_cpu_devices",
)
"""Of JAX, that executables depend on."""


@functools.cache
def _environment() -> str:
    """Digest of Eq. 1's environment."""
    device = jax.devices()[0]
    flags = [f"{name}={os.environ.get(name, '')}" for name in ("XLA_FLAGS", "LIBTPU_INIT_ARGS")]
    settings = [f"{name}={jax.config.values.get(name)}" for name in _SETTINGS]
    versions = jax.__version__, version("jaxlib"), device.client.platform_version
    return _digest((*versions, *flags, *settings, device.platform, device.device_kind, *_processor()))


def _processor() -> list[str]:
    """Name and features of the processor, as the system tells them."""
    known = [platform.system(), platform.machine(), platform.processor()]
    with contextlib.suppress(OSError):
        wanted = ("model name", "flags", "Features", "CPU implementer", "CPU part")
        lines = Path("/proc/cpuinfo").read_text().split("\n\n")[0].splitlines()
        known += [line for line in lines if line.startswith(wanted)]
    if platform.system() == "Darwin":
        with contextlib.suppress(OSError):
            asked = ["sysctl", "-n", "machdep.cpu.brand_string", "hw.optional"]
            known.append(subprocess.run(asked, capture_output=True, text=True, check=False).stdout)
    return known


def cache_folder() -> Path | None:
    """The folder of the module docstring; None if it is turned off."""
    given = os.environ.get("UQDM_CACHE")
    if given is not None:
        return None if given in ("", "off") else Path(given)
    above = Path(os.environ.get("XDG_CACHE_HOME", ""))
    try:
        return (above if above.is_absolute() else Path.home() / ".cache") / "uqdm"
    except RuntimeError:  # a user without a home
        return None


def _folder() -> Path | None:
    """Where files of this environment are, if they can be trusted; it need not exist yet."""
    folder = cache_folder()
    if folder is None:
        return None
    try:
        found = folder.stat()
    except FileNotFoundError:
        return folder / _environment()
    except OSError as error:
        return _warn(f"cannot use the cache {folder} ({error.strerror}): compiling what is needed")
    if os.name == "posix" and (found.st_uid not in (0, os.getuid()) or found.st_mode & 0o022):
        return _warn(f"the cache {folder} can be written by others: make it yours alone, or name another in UQDM_CACHE")
    return folder / _environment()


def _read(name: str) -> bytes | None:
    """What `_write` has written."""
    folder = _folder()
    if folder is None:
        return None
    path = folder / name
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        return _warn(f"cannot read the cache {folder} ({error.strerror}): compiling what is needed")
    if hashlib.sha256(data[32:]).digest() != data[:32]:
        with contextlib.suppress(OSError):
            path.unlink()
        return _warn(f"{path} is damaged: compiling it again")
    with contextlib.suppress(OSError):
        os.utime(path)
    return data[32:]


def _write(name: str, data: bytes) -> None:
    """Writes a file whole or not at all."""
    folder = _folder()
    if folder is None:
        return
    temporary = None
    try:
        folder.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        folder.mkdir(exist_ok=True, mode=0o700)
        with tempfile.NamedTemporaryFile(dir=folder, prefix=_PARTIAL, delete=False) as file:
            temporary = file.name
            file.write(hashlib.sha256(data).digest() + data)
        os.replace(temporary, folder / name)
        _trim(folder.parent)
    except OSError as error:
        if temporary:
            with contextlib.suppress(OSError):
                os.unlink(temporary)
        _warn(f"cannot write to the cache {folder.parent} ({error.strerror}): the next process will compile again")


def _trim(folder: Path) -> None:
    """Removes the files that were not used for longest, of those that `_write` has written and no others."""
    files = []
    for path in (path for own in folder.iterdir() if _ENVIRONMENT.fullmatch(own.name) for path in own.iterdir()):
        with contextlib.suppress(FileNotFoundError):  # another process trims as well
            if (_WRITTEN.fullmatch(path.name) or path.name.startswith(_PARTIAL)) and not path.is_symlink():
                files.append((path, path.stat()))
    total = sum(found.st_size for _, found in files)
    for path, found in sorted(files, key=lambda file: file[1].st_mtime):
        if total <= LIMIT_BYTES:
            break
        path.unlink(missing_ok=True)
        total -= found.st_size


@functools.cache
def _warn(line: str) -> None:
    """Says something once."""
    _LOG.warning("%s", line)
