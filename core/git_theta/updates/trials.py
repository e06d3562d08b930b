"""What update types guess, from samples, of a buffer: which of them are worth trying."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from git_theta.errors import MissingPackError, PackError
from git_theta.plugins import Failure, Offer, Plugins
from git_theta.storage.payload import MAX_DEPTH
from git_theta.updates.grounds import Ground
from git_theta.updates.interface import Numbers

EXTRA_COST = 4096
"""Bytes that decoding may read beyond twice the buffer's own length."""
NEAREST = 2
"""Bases that types other than delta are asked about, of those that a difference leaves least of."""


class Trial(NamedTuple):
    """An update that may pay."""

    guess: int
    """Bytes that it would be stored in."""
    offer: Offer
    grounds: Sequence[Ground]


def ask_single(
    plugins: Plugins, offers: Sequence[Offer], new: Numbers, grounds: Sequence[Ground]
) -> list[Trial]:
    """What types that stand on one base or none may make of the buffer.

    Those that cost more to ask than a difference does are asked about the nearest bases only.
    """
    delta = plugins.find("theta_update_types", "delta")
    differences = [trial for ground in grounds for trial in _ask(plugins, delta, new, [ground])]
    nearest = sorted(differences, key=lambda trial: trial.guess)[:NEAREST]
    trials: list[Trial] = []
    for offer in offers:
        if not offer.value.max_bases:
            trials += _ask(plugins, offer, new, [])
        elif offer.name == "delta":
            trials += differences
        elif offer.value.max_bases == 1:
            for difference in nearest:
                trials += _ask(plugins, offer, new, difference.grounds)
    return [one for one in trials if affordable(one.grounds, one.guess, new.data.size)]


def ask_several(
    plugins: Plugins, offers: Sequence[Offer], new: Numbers, grounds: Sequence[Ground]
) -> Iterator[Trial]:
    """What types that may stand on several bases make of the buffer."""
    for offer in offers:
        if offer.value.max_bases > 1 and grounds:
            yield from _ask(plugins, offer, new, grounds)


def _ask(
    plugins: Plugins, offer: Offer, new: Numbers, grounds: Sequence[Ground]
) -> Iterator[Trial]:
    """What a type guesses; nothing where it fails."""
    if _what(offer) in {failure.what for failure in plugins.failures}:
        return
    try:
        guess = offer.value.estimate(new, [ground.numbers for ground in grounds])
    except (PackError, MissingPackError):  # a base is damaged
        return
    except Exception as error:  # whatever a plugin does, the buffer is kept
        report(plugins, offer, error)
        return
    yield Trial(guess, offer, grounds)


def affordable(grounds: Sequence[Ground], nbytes: int, length: int) -> bool:
    """Whether an update of ``nbytes`` bytes on these keeps what reading a buffer may cost."""
    payloads = {key: cost for ground in grounds for key, cost in ground.payloads.items()}
    margin = nbytes // 16  # what it will take is a guess
    cost = sum(payloads.values()) + nbytes + margin
    return len(payloads) < MAX_DEPTH and cost <= 2 * length + EXTRA_COST


def _what(offer: Offer) -> str:
    return f"update type {offer.name}"


def report(plugins: Plugins, offer: Offer, error: Exception) -> None:
    """Count a type that raised among the plugins' failures; it is not asked again."""
    plugins.failures.append(Failure(offer.plugin, _what(offer), error))
