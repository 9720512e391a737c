"""The store: everything that the application keeps, taken and given as frozen values.

One operation is one session and one transaction. Writing operations take SQLite's write lock at once (BEGIN
IMMEDIATE), so they wait for each other instead of failing half-way. A method returns after the commit has reached the
disk (``synchronous=FULL``): what it wrote survives a killed process and a power cut.
"""

from __future__ import annotations

from engine.store.analyses import Analyses
from engine.store.base import INTERRUPTED
from engine.store.queue import AnalysisQueue
from engine.store.readers import Readers
from engine.store.statements import Statements
from engine.store.studies import Studies
from engine.store.worklist import Worklist

__all__ = ["INTERRUPTED", "Store"]


class Store(Studies, Analyses, Statements, Readers, Worklist, AnalysisQueue):
    """An open store. Made by `Store.open`; safe to use from several threads."""
