"""What is allowed but weak in how meters are protected: pointed out, so that nobody takes it for more than it is."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping

from model.errors import Problem
from model.loading.document import Document
from model.loading.listing import named
from model.settings.meter import MeterSettings


def unauthenticated(document: Document, meters: Mapping[int, MeterSettings]) -> Iterator[Problem]:
    """Warnings: meters whose replies could be changed on their way unnoticed.

    :arg meters: by their place in the section `meters`.
    """
    weak = [index for index, meter in meters.items() if meter.security_policy == "encryption"]
    if weak:
        what = f"{named('meter', [meters[index].id for index in weak])}: encryption alone does not tell whether a reply was changed"
        remedy = "write security_policy: authenticated-encryption where the meter's security setup allows it"
        yield document.problem(("meters", weak[0], "security_policy"), what, remedy)


def shared_keys(document: Document, meters: Mapping[int, MeterSettings]) -> Iterator[Problem]:
    """Warnings: meters with one encryption key, towards which we have one system title.

    Their counters are kept apart, so that the same number will be used with the same key and title for two messages.

    :arg meters: by their place in the section `meters`.
    """
    by_key: dict[tuple[bytes, str], list[int]] = defaultdict(list)
    for index, meter in meters.items():
        if meter.block_cipher_key is not None and meter.is_associated_with:
            by_key[meter.block_cipher_key_bytes(), (meter.client_system_title or "").lower()].append(index)
    for indices in by_key.values():
        if len(indices) > 1:
            what = f"{named('meter', [meters[index].id for index in indices])} have one block_cipher_key and one client_system_title"
            remedy = "give each meter a key of its own, as the standard asks; for now, give each a client_system_title of its own"
            yield document.problem(("meters", indices[1], "block_cipher_key"), what, remedy)
