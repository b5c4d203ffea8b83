"""The disk of state_dir: room, inodes, whether it can be written, and when it will be full."""

from __future__ import annotations

import os
from datetime import timedelta
from pathlib import Path

from commands.checkup.area import Area, Site
from commands.checkup.history import age_of_archive
from connectors.archive.sink import ArchiveSettings

LEAST_FREE, LITTLE_FREE = 100_000_000, 1_000_000_000
"""Bytes; with less free than the first readings are about to be lost."""

LEAST_INODES, LITTLE_INODES = 100, 1_000

OLD_ENOUGH = timedelta(days=1)
"""An archive that is younger does not tell how fast it grows."""

FULL_SOON = 30.0
"""Days."""

_REMEDY = "free space on this disk (journalctl --vacuum-size=200M, old *.damaged-* files), or move state_dir to a larger one"


def look_at_disk(area: Area, site: Site) -> None:
    """Room, inodes, rights, growth."""
    directory = site.state_dir
    existing = next((parent for parent in (directory, *directory.absolute().parents) if os.path.lexists(parent)), Path("/"))
    if not existing.is_dir():
        area.critical(f"{existing} is not a directory", "set state_dir to a directory, or move away what is in its place")
        return
    try:
        room = os.statvfs(existing)
    except OSError as error:
        area.critical(f"{existing}: {error.strerror or error}", "check the disk and the right to look at state_dir")
        return
    if room.f_flag & os.ST_RDONLY:
        area.critical(f"the disk of {existing} is mounted read-only", "check the disk (dmesg): Linux does that after an error; remount it")
    elif not os.access(existing, os.W_OK | os.X_OK, effective_ids=True):
        what = f"{existing} cannot be written by this user (uid {os.geteuid()}); it belongs to uid {existing.stat().st_uid}"
        remedy = "run this as the user of the flow, or make state_dir one that the flow's user can write to (chown)"
        if site.running:
            area.not_seen(f"{what}, so whether the flow may write it cannot be seen")
        else:
            area.critical(what, remedy)
    free, total = room.f_bavail * room.f_frsize, room.f_blocks * room.f_frsize
    text = f"{_size(free)} of {_size(total)} free at {existing}"
    if free < LEAST_FREE:
        area.critical(f"the disk is full: {text}", _REMEDY)
    elif free < LITTLE_FREE:
        area.minor(f"the disk is nearly full: {text}", _REMEDY)
    else:
        area.fact(text)
    _look_at_inodes(area, existing, room)
    _look_at_growth(area, site, free)


def _look_at_inodes(area: Area, existing: Path, room: os.statvfs_result) -> None:
    if not room.f_files:
        return  # a file system that has no fixed number of them
    if room.f_favail < LEAST_INODES:
        area.critical(f"no inodes are left: {room.f_favail} of {room.f_files} at {existing}", "delete many small files on this disk")
    elif room.f_favail < LITTLE_INODES:
        area.minor(f"few inodes are left: {room.f_favail} of {room.f_files} at {existing}", "delete many small files on this disk")


def _look_at_growth(area: Area, site: Site, free: int) -> None:
    """The archive grows until it is as old as `keep`."""
    known = age_of_archive(site)
    if known is None or site.now - known[0] < OLD_ENOUGH:
        return
    first, size = known
    age = (site.now - first) / timedelta(days=1)
    per_day = size / age
    settings = [node.settings for node in site.loaded.nodes if isinstance(node.settings, ArchiveSettings)] if site.loaded else []
    keep = max((setting.keep / 86400.0 for setting in settings), default=90.0)
    left = free / per_day
    if left < keep - age and left < FULL_SOON:
        what = f"the archive grows by {_size(per_day)} a day and fills the disk in {left:.0f} days, before it is {keep:.0f} days old"
        area.minor(what, "lower `keep` of the archive-out node, or move state_dir to a larger disk")
    else:
        area.fact(f"the archive has {_size(size)} and grows by {_size(per_day)} a day")


def _size(count: float) -> str:
    return f"{count / 1e9:.1f} GB" if count >= 1e9 else f"{count / 1e6:.1f} MB"
