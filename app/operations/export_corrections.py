"""Write the readers' corrections in one of the registered formats."""

from __future__ import annotations
