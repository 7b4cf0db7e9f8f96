"""Whether the data of a study are what their manifest says, and stay so while it runs.

The hash in the manifest is part of what a study is of, but nobody computes it when a set is opened: a label that was
changed by hand would go unnoticed. So the first session after any change of the files reads everything once, and while
a session runs the files are looked at ten times a second.
"""

from __future__ import annotations

import hashlib
import json
from contextlib import suppress
from pathlib import Path

from lesion.data.packed import IMAGES, MANIFEST, TABLE, PackedDataset
from lesion.errors import DataError
from search.differences import differences, remember
from search.errors import StudyError

Stamps = list[list[int]]


class Unchanged:
    """Watches over the files of `data`; what was verified is noted in the folder `notes`, which may be lost."""

    def __init__(self, data: PackedDataset, notes: Path) -> None:
        self.data = data
        name = hashlib.sha256(str(data.path.absolute()).encode()).hexdigest()[:16]
        self._note = notes / f"verified-{name}.json"
        self._stamps = self._now()

    def verify(self) -> None:
        """Raise DataError unless the files hold what the manifest says; reads them if they changed since the last time.

        That is a second for each gigabyte or so.
        """
        known: object = None
        with suppress(OSError, ValueError):
            known = json.loads(self._note.read_text())
        if known == [self.data.content_hash, self._stamps]:
            remember(self._note.parent, self.data)
            return
        try:
            self.data.verify()
        except DataError as error:
            raise DataError("\n  ".join([str(error), *self.since(self.data.content_hash)])) from error
        remember(self._note.parent, self.data)
        with suppress(OSError):
            self._note.parent.mkdir(parents=True, exist_ok=True)
            self._note.write_text(json.dumps([self.data.content_hash, self._stamps]))

    def since(self, content_hash: str) -> list[str]:
        """In words, what the data have otherwise than those of `content_hash`, where that is known."""
        return differences(self._note.parent, content_hash, self.data)

    def still(self) -> None:
        """Raise StudyError if the files changed since, and hold something else now."""
        stamps = self._now()
        if stamps == self._stamps:
            return
        try:
            again = PackedDataset.open(self.data.path)
            again.verify()
            same = again.content_hash == self.data.content_hash
            what = f"its content hash was {self.data.content_hash[:12]}, is {again.content_hash[:12]}"
        except DataError as error:
            same, what = False, str(error)
        else:
            what = "; ".join([what, *differences(self._note.parent, self.data.content_hash, again)])
        if not same:
            raise StudyError(
                f"the data set {self.data.path} changed while the study ran: {what}. Nothing was recorded since; "
                "put it back and run the same command again, or give a search of the new data another name"
            )
        self._stamps = stamps

    def _now(self) -> Stamps:
        """What tells one version of the files from another: place, size and time of each; zeros where one is gone."""
        stamps = []
        for name in (IMAGES, TABLE, MANIFEST):
            try:
                stat = (self.data.path / name).stat()
                stamps.append([stat.st_ino, stat.st_size, stat.st_mtime_ns])
            except OSError:
                stamps.append([0, 0, 0])
        return stamps
