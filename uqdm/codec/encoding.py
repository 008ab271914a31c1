"""How pictures become streams: what is asked for, the loop until it is reached, and the choice between two models."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import NamedTuple

import numpy as np

from channel_sim.entropy import determining_bytes
from uqdm.codec import container, extras
from uqdm.codec.arguments import as_model, check_number
from uqdm.codec.container import Header
from uqdm.codec.loop import Sender
from uqdm.codec.rate_control import OutOfReachError, Target, pictures_at, unfiltered
from uqdm.contract import HoldingState, Model, OptimizingState, State, steps_until, times_of
from uqdm.drawn.fewer_colours import best_within, nearest_to
from uqdm.drawn.model import DrawnModel, looks_drawn
from uqdm.library import default_model, residual_of
from uqdm.lossless.residual import WithResidual
from uqdm.metrics.psnr import psnr_db as measured_psnr_db

__all__ = ["Request", "encode_best", "encode_together", "request_of"]

_SHORT, _SHORT_LOSSLESS, _LONG = 0.125, 2.0, 20.0
"""Bits per pixel: so short that no model is asked, and so long that it must be noise."""
_SPOILED_DB = 0.1
"""What the filter may cost after a step."""


class Request(NamedTuple):
    """How pictures are to be encoded."""

    tau: float | None
    target: Target | None
    rdoq: bool
    lossless: bool
    model: Model | None
    seed: int
    with_index: bool
    drawn: bool = False
    """Whether the drawn process may be taken where it is shorter."""
    filtered: bool = True
    """Whether previews may be filtered."""
    changed: bool = False
    """Whether the pictures were changed before, which the stream says."""
    longest: int | None = None
    """Bytes beyond which a stream to a PSNR is of no use."""


def request_of(tau, bpp, file_bytes, psnr_db, rdoq, lossless, model, seed, index=False, drawn=None) -> Request:
    """Checks arguments of `encode` that exclude each other."""
    limits = {"bpp": bpp, "file_bytes": file_bytes, "psnr_db": psnr_db}
    for name, value in ({"tau": tau} | limits).items():
        check_number(name, value, whole=name == "file_bytes")
    limits = {name: value for name, value in limits.items() if value is not None}
    if limits and (lossless or tau is not None):
        other = "lossless" if lossless else "tau"
        raise ValueError(f"{' and '.join(limits)} cannot be combined with {other}: a stream ends in one place")
    if rdoq and (lossless or not (limits or tau)):
        raise ValueError("rdoq is for streams that end early: give a tau above 0, bpp, file_bytes or psnr_db with it")
    if isinstance(seed, bool) or not isinstance(seed, int | np.integer):
        raise TypeError(f"seed must be an integer, got {seed!r}")
    if not 0 <= seed < 2**32:
        raise ValueError(f"seed must be in [0, 2^32), got {seed}")
    if rdoq and index and limits:
        raise ValueError(
            "rdoq and index exclude each other: the last level is sent twice, and an index tells of the first time"
        )
    if drawn and model is not None:
        raise ValueError("drawn lets the encoder choose a model, and one is given: leave one of them out")
    asked = bool(limits) or (lossless and tau is None) if drawn is None else drawn
    target = Target(**limits) if limits else None
    return Request(tau, target, rdoq, lossless, as_model(model), int(seed), index, asked and model is None)


def encode_together(
    pictures: Sequence[np.ndarray],
    request: Request,
    on_step: Callable[[list[Sender]], object] = lambda _: None,
) -> list[bytes]:
    """Algorithm 1 for pictures of one size."""
    tau, target, rdoq, lossless, model, seed, with_index, _, filtered, changed, longest = request
    height, width = pictures[0].shape[:2]
    model = model or default_model(height, width, lossless=lossless)
    steps, residual_id = steps_until(tau or 0.0, times_of(model)), b""
    chunks = (extras.CHANGED,) if changed else ()
    header = Header(model.id[: container.MODEL_ID_BYTES], width, height, seed, steps, 0, chunks=chunks)
    sending: Model = model
    if lossless:
        residual = residual_of(model)
        steps = residual.steps_before(model) if tau is None else steps
        residual_id = residual.id[: container.RESIDUAL_ID_BYTES]
        header = header._replace(steps=steps, residual_id=residual_id)
        sending = WithResidual(model=model, residual=residual, steps_before=steps, steps=header.total_steps)
    ends = [_before(longest, target.enough(picture, model)) if target else lambda _: False for picture in pictures]
    all_looked_at = with_index or bool(target and target.psnr_db is not None)  # anyway
    looks = [
        _Look(picture, sending, closely=drawn or with_index, filtered=filtered) if drawn or all_looked_at else None
        for picture, drawn in ((picture, looks_drawn(picture)) for picture in pictures)
    ]
    senders = [
        Sender(picture, sending, header, look.and_enough(end) if look else end)
        for picture, end, look in zip(pictures, ends, looks, strict=True)
    ]
    noted = zip(pictures, senders, strict=True) if with_index else ()
    indices = [_Index(picture, sending, sender) for picture, sender in noted]
    branches: dict[int, Sender] = {}
    while active := [
        sender for sender, look in zip(senders, looks, strict=True) if not sender.ended and not (look and look.spoiled)
    ]:
        step = active[0].step
        for number, sender in enumerate(senders):
            if not rdoq or sender.ended:
                continue
            if target and _optimizes_from(sender.state, step) == step:
                branches[number] = sender.branch()
            elif not target and _optimizes_from(sender.state, steps - 1) == step:
                sender.state = sender.state.optimized(steps - 1)
        sending.expect([sender.state for sender in active], step)
        for sender in active:
            sender.send()
        for one in indices:
            one.note()
        on_step(senders)

    def finished(sender: Sender, number: int) -> bytes:
        data = sender.finish()
        return indices[number].added_to(data) if with_index else data

    streams = []
    for number, (sender, picture, look) in enumerate(zip(senders, pictures, looks, strict=True)):
        if look and look.spoiled:
            streams += encode_together([picture], request._replace(filtered=False), on_step)
            continue
        if not target:
            streams.append(finished(sender, number))
            continue
        candidates = [sender]
        if number in branches and sender.step < steps:
            candidates.insert(0, _optimized(branches[number], sending, sender.step - 1))
        # Where bytes are limited both are as long.
        streams.append(min((target.cut(finished(each, number), picture, model) for each in candidates), key=len))
    return streams


def encode_best(
    picture: np.ndarray, request: Request, stream: Callable[[Request], bytes], beside: Callable[[bytes], bytes]
) -> bytes:
    """A stream, or the one of the drawn process where that is shorter, or better in as many bytes as there may be.

    The drawn process sends pictures exactly; where a PSNR or a size is asked for, also in fewer colours.

    Args:
      picture: uint8 (H, W, 3).
      request: how it is to be encoded.
      stream: gives what the model makes of it, as it is asked.
      beside: adds metadata to a stream.
    """
    if not request.drawn:
        return beside(stream(request))
    most = request.target and request.target.most_bytes(*picture.shape[:2])
    pixels = picture[..., 0].size

    def drawn(picture: np.ndarray, *, changed: bool) -> bytes:
        drawn = request._replace(tau=None, target=None, rdoq=False, lossless=False, model=DrawnModel(), changed=changed)
        (data,) = encode_together([picture], drawn)
        if len(data) > picture.size:  # noise beside a middle that is none
            (plain,) = encode_together([picture], drawn._replace(model=DrawnModel(mode=0)))
            data = min(data, plain, key=len)
        return beside(data)

    def exactly() -> bytes:
        return drawn(picture, changed=False)

    if not looks_drawn(picture):
        data = beside(stream(request))
        return min(data, exactly(), key=len) if most is None and 8 * len(data) > _LONG * pixels else data
    exact = exactly()
    enough = most if most is not None else pixels * (_SHORT_LOSSLESS if request.lossless else _SHORT) // 8
    if len(exact) <= enough:
        return exact
    target, fewer = request.target if not request.with_index else None, partial(drawn, changed=True)
    if target and target.psnr_db is not None:
        reduced = nearest_to(picture, target.psnr_db)
        exact = exact if reduced is None else min(exact, fewer(reduced), key=len)
        request = request._replace(longest=len(exact))
    try:
        data = beside(stream(request))
    except OutOfReachError:
        return exact
    if most is None:
        return min(exact, data, key=len)
    return _or_in_fewer_colours(picture, most, data, fewer) if target else data


def _or_in_fewer_colours(picture: np.ndarray, most: int, data: bytes, encode: Callable[[np.ndarray], bytes]) -> bytes:
    """A stream, or, of so many bytes, that of the picture in fewer colours where it is better."""
    found = best_within(picture, encode, most)
    if found is None:
        return data
    (shown,) = pictures_at(data, [len(data)], default_model(*picture.shape[:2]))
    return found[0] if found[1] > measured_psnr_db(picture, shown) else data


def _before(longest: int | None, enough: Callable[[Sender], bool]) -> Callable[[Sender], bool]:
    """Whether enough was sent, or more than so many bytes."""
    return enough if longest is None else lambda sender: 4 * sender.writer.position[0] > longest or enough(sender)


class _Look:
    """At what is shown of a picture on its way, so that more bytes never look worse.

    Attributes:
      spoiled: whether the filter has made the picture worse: then nothing is to be filtered.
    """

    def __init__(self, picture: np.ndarray, model: Model, *, closely: bool, filtered: bool):
        """Nothing is looked at yet.

        Args:
          picture: uint8 (H, W, 3).
          model: what it is sent with.
          closely: whether the filter is asked after every step; else what it filters, which is sooner.
          filtered: whether it may filter at all.
        """
        self._picture, self._model, self._closely, self._filtered = picture, model, closely, filtered
        self.spoiled = False

    def and_enough(self, enough: Callable[[Sender], bool]) -> Callable[[Sender], bool]:
        """Whether enough has been sent; what is shown of it is chosen first."""

        def chosen_and_enough(sender: Sender) -> bool:
            self._choose(sender)
            return enough(sender)

        return chosen_and_enough

    def _choose(self, sender: Sender) -> None:
        """Holds what was shown before a step where it is nearer to the picture than what is known after it."""
        state, step = sender.state, sender.step
        if not isinstance(state, HoldingState) or step > sender.header.steps:
            return
        if step == 0:
            state.held, state.filtered = frozenset(), self._filtered
            return
        assert state.held is not None
        plain = self._psnr_db(unfiltered(self._model, state, step))
        asked = self._closely and self._filtered
        fresh = self._psnr_db(self._model.picture(state, step)) if asked else plain
        self.spoiled |= fresh < plain - _SPOILED_DB
        state.held |= {step}
        show = self._model.picture if asked else partial(unfiltered, self._model)
        if self._psnr_db(show(state, step)) <= fresh:
            state.held -= {step}

    def _psnr_db(self, shown: np.ndarray) -> float:
        return measured_psnr_db(self._picture, shown)


class _Index:
    """Of the qualities of a picture on its way, measured as a receiver sees it."""

    def __init__(self, picture: np.ndarray, model: Model, sender: Sender):
        self._picture, self._model, self._sender, self._ends = picture, model, sender, {}
        self.note()

    def note(self) -> None:
        """Measures what the sender has sent, unless that has been done."""
        sender = self._sender
        if sender.step not in self._ends:
            shown = self._model.picture(sender.state, sender.step)
            self._ends[sender.step] = sender.writer.position, measured_psnr_db(self._picture, shown)

    def added_to(self, data: bytes) -> bytes:
        """The sender's stream with the index."""
        payload = data[container.unpack(data)[1] :]
        ends = self._ends.items()
        return container.with_index(data, [(step, determining_bytes(payload, end), psnr) for step, (end, psnr) in ends])


def _optimizes_from(state: State, step: int) -> int | None:
    """Of families that can."""
    return state.optimizes_from(step) if isinstance(state, OptimizingState) else None


def _optimized(branch: Sender, model: Model, last: int) -> Sender:
    """Goes on from where a stream that ends in step `last` is optimised, to its end."""
    branch.state = branch.state.optimized(last)
    while not branch.ended:
        model.expect([branch.state], branch.step)
        branch.send()
    return branch
