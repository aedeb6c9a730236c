"""A reactor for unit tests: a clock, and descriptors that the test serves by hand."""

from __future__ import annotations

from typing import Any

from twisted.internet.interfaces import IReactorFDSet, IReadDescriptor, IWriteDescriptor
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from zope.interface import implementer

__all__ = ["HandReactor"]


@implementer(IReactorFDSet)
class HandReactor(Clock):
    """Records who waits for what; :meth:`serve` does what a real reactor does with an event."""

    def __init__(self) -> None:
        super().__init__()
        self.readers: set[Any] = set()
        self.writers: set[Any] = set()

    def addReader(self, reader: IReadDescriptor) -> None:
        self.readers.add(reader)

    def addWriter(self, writer: IWriteDescriptor) -> None:
        self.writers.add(writer)

    def removeReader(self, reader: IReadDescriptor) -> None:
        # A descriptor that is closed already could by now be somebody else's number.
        assert reader not in self.readers or reader.fileno() >= 0
        self.readers.discard(reader)

    def removeWriter(self, writer: IWriteDescriptor) -> None:
        assert writer not in self.writers or writer.fileno() >= 0
        self.writers.discard(writer)

    def removeAll(self) -> list[Any]:
        everything = list(self.readers | self.writers)
        self.readers.clear()
        self.writers.clear()
        return everything

    def getReaders(self) -> list[Any]:
        return list(self.readers)

    def getWriters(self) -> list[Any]:
        return list(self.writers)

    def serve(self) -> None:
        """One turn: every reader may read and every writer may write."""
        for reader in list(self.readers):
            if reader in self.readers:
                self._serve(reader, reader.doRead)
        for writer in list(self.writers):
            if writer in self.writers:
                self._serve(writer, writer.doWrite)

    def _serve(self, descriptor: Any, action: Any) -> None:
        why = action()
        if why is not None:
            self.removeReader(descriptor)
            self.removeWriter(descriptor)
            descriptor.connectionLost(Failure(why))
